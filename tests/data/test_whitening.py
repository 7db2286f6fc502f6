"""ZCA whitening: its definition, its inverse, and datasets condensed in the whitened space."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.core.errors import ArtifactError
from condensed_data.data.value_space import ValueSpace
from condensed_data.data.whitening import EPSILON, MAX_VALUES, Whitening
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import MultiFormation, Pixels
from condensed_data.networks import ConvNet
from condensed_data.training.protocols import quick

NET = ConvNet(width=8, depth=1)
SHORT = replace(quick(), name="short", epochs=60)
QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "precision": "fp32"}


def mixed(shape: tuple[int, ...], count: int = 200) -> Tensor:
    """Samples with correlated values of different mean and variance."""
    draw = torch.Generator().manual_seed(3)
    values = int(np.prod(shape))
    factor = torch.randn(values, values, generator=draw) / values**0.5
    rows = torch.randn(count, values, generator=draw) @ factor + torch.randn(values, generator=draw)
    return rows.view(count, *shape)


def by_definition(rows: np.ndarray, epsilon: float) -> np.ndarray:
    """(n, D) whitened, from the eigenvalues of the covariance in double precision."""
    centered = rows - rows.mean(0)
    values, vectors = np.linalg.eigh(centered.T @ centered / len(rows))
    return centered @ vectors @ np.diag(1 / np.sqrt(values + epsilon)) @ vectors.T


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 3), (2, 9), (7,)])
@pytest.mark.parametrize("epsilon", [1e-4, EPSILON])
def test_whitening_equals_its_definition_and_is_invertible(shape: tuple[int, ...], epsilon: float) -> None:
    samples = mixed(shape)
    found = Whitening.from_samples(samples.split(60), epsilon)
    expected = by_definition(samples.flatten(1).double().numpy(), epsilon)
    np.testing.assert_allclose(found.apply(samples).flatten(1).numpy(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.invert(found.apply(samples)), samples, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.map(), found.map().T)


def test_without_epsilon_values_are_uncorrelated() -> None:
    samples = mixed((3, 3, 3), 2000)
    rows = Whitening.from_samples([samples], 1e-9).apply(samples).flatten(1)
    torch.testing.assert_close(rows.T @ rows / len(rows), torch.eye(27), rtol=1e-3, atol=1e-3)


def test_constant_values_stay() -> None:
    samples = mixed((1, 4, 4))
    samples[:, :, 0] = 0.5
    found = Whitening.from_samples([samples])
    white = found.apply(samples)
    assert bool(white.isfinite().all())
    assert float(white[:, :, 0].abs().max()) < 1e-5
    torch.testing.assert_close(found.invert(white), samples, rtol=1e-4, atol=1e-4)


def test_whitening_does_not_depend_on_the_value_space() -> None:
    samples = mixed((2, 4, 4))
    whitened = []
    for factor, shift in ((1.0, 0.0), (255.0, 0.0), (3.0, -7.0)):
        rows = samples * factor + shift
        space = ValueSpace(rows.mean((0, 2, 3)), rows.std((0, 2, 3), unbiased=False))
        whitened.append(Whitening.from_samples([space.scale(rows)]).apply(space.scale(rows)))
    for other in whitened[1:]:
        torch.testing.assert_close(other, whitened[0], rtol=1e-3, atol=1e-3)


def recipe(**options: Any) -> Recipe:
    return recipes.dm(2, iterations=2, batch=8, network=NET, **options).set(whitening="zca")


def whitening_of(made: CondensedDataset) -> Whitening:
    assert made.metadata.space.whitening is not None
    return made.metadata.space.whitening


class Pictures(Dataset[Any]):
    def __init__(self, source: TensorDataset) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        sample, label = self.source[index]
        return Image.fromarray((sample[0] * 255).byte().numpy()), int(label)


@pytest.mark.parametrize("kind", ["float", "pictures", "several formations"])
def test_a_dataset_condensed_in_the_whitened_space(
    kind: str, tiny_images: TensorDataset, tiny_test_images: TensorDataset, tmp_path: Path
) -> None:
    source, test = (Pictures(part) if kind == "pictures" else part for part in (tiny_images, tiny_test_images))
    chosen = replace(recipe(), synthetic=MultiFormation()) if kind == "several formations" else recipe()
    made = CondensedDataset(source, chosen, cache=False, **QUIET)
    made.save(tmp_path / "set")
    loaded = CondensedDataset.load(tmp_path / "set")
    assert torch.equal(made.images, loaded.images)
    # the images are in the source's value space, not whitened
    assert -2 < float(loaded.images.min()) < float(loaded.images.max()) < 3
    for name, tensor in whitening_of(made).tensors().items():
        assert torch.equal(tensor, whitening_of(loaded).tensors()[name])
    assert loaded.preprocessing["whitening"] == "zca"
    manifest = json.loads((tmp_path / "set" / "condensed.json").read_text())
    assert manifest["required_features"] == ["zca"]
    assert "ZCA" in (tmp_path / "set" / "README.md").read_text()
    scores = [one.evaluate(test, NET, 1, training=SHORT, progress=False).mean for one in (made, loaded)]
    assert scores[0] == scores[1]
    # enlarged cells lack the detail that whitening amplifies
    assert kind == "several formations" or scores[0] > 0.5


def test_normalization_includes_whitening(tiny_images: TensorDataset) -> None:
    made = CondensedDataset(tiny_images, recipe(), cache=False, **QUIET)
    whole = made.normalization()(tiny_images.tensors[0][:5])
    torch.testing.assert_close(whole, made.metadata.space.standardize(tiny_images.tensors[0][:5]), rtol=1e-4, atol=1e-4)
    plain = CondensedDataset(tiny_images, recipe().set(whitening="none"), cache=False, **QUIET)
    assert "whitening" not in plain.preprocessing
    assert not torch.equal(plain.images, made.images)


def test_signals_and_vectors(tmp_path: Path) -> None:
    for shape, network in (((2, 12), "convnet"), ((9,), "mlp")):
        source = TensorDataset(mixed(shape, 30), torch.arange(30) % 3)
        chosen = recipes.dm(1, iterations=1, batch=4, network=network).set(whitening="zca")
        made = CondensedDataset(source, chosen, cache=False, **QUIET)
        made.save(tmp_path / str(len(shape)))
        assert torch.equal(made.images, CondensedDataset.load(tmp_path / str(len(shape))).images)
        with pytest.raises(ValueError, match="no torchvision transform for whitened samples"):
            made.normalization()


def test_unsupported_uses_are_refused(tiny_images: TensorDataset, tmp_path: Path) -> None:
    side = int(MAX_VALUES**0.5) + 1
    large = TensorDataset(torch.rand(4, 1, side, side), torch.arange(4) % 2)
    with pytest.raises(ValueError, match=r"the limit is 5,000 values per sample. Use whitening='none'"):
        CondensedDataset(large, recipe(), cache=False, **QUIET)
    with pytest.raises(ValueError, match="whitening='pca' must be one of 'none', 'zca'"):
        recipe().set(whitening="pca")
    clamped = replace(recipe(), synthetic=Pixels(clamp=True))
    with pytest.raises(ValueError, match="single values have no fixed range to clamp to"):
        CondensedDataset(tiny_images, clamped, cache=False, **QUIET)
    made = CondensedDataset(tiny_images, recipe(), cache=False, **QUIET)
    whitening = replace(whitening_of(made), scales=torch.ones(3))
    broken = replace(made.metadata, space=replace(made.metadata.space, whitening=whitening))
    with pytest.raises(ArtifactError, match=r"zca\.scales"):
        replace(made.result, metadata=broken).save(tmp_path / "set")


def test_whitened_spaces_have_their_own_experts(tiny_images: TensorDataset, tmp_path: Path) -> None:
    for whitening in ("none", "zca"):
        chosen = recipes.mtt(1, 1, steps=2, experts=1, epochs=1, ahead=1, network=NET, whitening=whitening)
        CondensedDataset(tiny_images, chosen, cache=tmp_path, **QUIET)
    assert len(list((tmp_path / "networks").iterdir())) == 2
