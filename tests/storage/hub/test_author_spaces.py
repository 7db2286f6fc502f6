"""ZCA-whitened files of authors: never taken for normalized ones, and evaluated on a test set that is whitened too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset
from torchvision.transforms.functional import to_pil_image

from condensed_data import CondensedDataset
from condensed_data.training.protocol import Training

LABELS = torch.arange(3).repeat_interleave(2)
QUICK = Training("one", epochs=3)


def training_samples(seed: int = 0, count: int = 90) -> Tensor:
    """(count, 3, 6, 6) in [0, 1] on the 8-bit grid; neighboring pixels are correlated."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 3, 3, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear")
    return ((0.8 * fine + 0.2 * torch.rand(fine.shape, generator=generator)) * 255).round() / 255


def zca(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and matrix (D, D) in float64, from the definition: covariance over n - 1, epsilon 0.1 (kornia, MTT)."""
    rows = samples.double().flatten(1)
    covariance = torch.from_numpy(np.cov(rows.numpy(), rowvar=False))
    values, vectors = torch.linalg.eigh(covariance)
    return rows.mean(0), vectors @ torch.diag((values + 0.1) ** -0.5) @ vectors.T


def whiten(samples: Tensor) -> Tensor:
    mean, matrix = zca(training_samples())
    return ((samples.double().flatten(1) - mean) @ matrix).float().view(samples.shape)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.save(whiten(training_samples(1, 6)), tmp_path / "images_zca_best.pt")
    torch.save(LABELS, tmp_path / "labels_best.pt")
    return tmp_path


def labeled(samples: Tensor, kind: str = "float") -> Any:
    labels = torch.arange(len(samples)) % 3
    if kind == "pil":
        return [(to_pil_image(image), int(label)) for image, label in zip(samples, labels, strict=True)]
    return TensorDataset((samples * 255).round().byte() if kind == "uint8" else samples, labels)


@pytest.mark.parametrize("kind", ["float", "pil", "uint8", "map"])
def test_whitened_files_equal_a_direct_computation(kind: str, folder: Path) -> None:
    mean, matrix = zca(training_samples())
    given = (mean, matrix) if kind == "map" else labeled(training_samples(), kind)
    found = CondensedDataset.from_pt(folder / "images_zca_best.pt", whitening=given)
    top = 255 if kind == "uint8" else 1
    assert torch.allclose(found.images / top, training_samples(1, 6), atol=1e-5)
    assert found.metadata.kind.name == {"pil": "pil:RGB", "uint8": "tensor:uint8"}.get(kind, "tensor:float32")
    test = training_samples(2, 30)
    samples, _ = found.standardized("test_set", labeled(test, "float" if kind == "map" else kind))
    assert torch.allclose(samples, whiten(test), atol=1e-4)
    assert torch.allclose(found.metadata.space.standardize(found.images), whiten(training_samples(1, 6)), atol=1e-4)


def test_networks_are_trained_and_tested_on_whitened_samples(folder: Path) -> None:
    """The accuracies are those of training on the stored values and testing on whitened ones."""
    from condensed_data.training.evaluate import evaluate_tensors

    found = CondensedDataset.from_pt(folder / "images_zca_best.pt", whitening=labeled(training_samples()))
    options: dict[str, Any] = {"network": "convnet-d1-w8", "runs": 2, "training": QUICK, "progress": False}
    measured = found.evaluate(labeled(training_samples(2, 60)), **options)
    stored, test = torch.load(folder / "images_zca_best.pt"), whiten(training_samples(2, 60))
    direct = evaluate_tensors(stored, LABELS, test, torch.arange(60) % 3, num_classes=3, **options)
    assert measured.accuracies == pytest.approx(direct.accuracies, abs=0.02)


def test_the_whitening_is_saved(folder: Path) -> None:
    found = CondensedDataset.from_pt(folder / "images_zca_best.pt", whitening=labeled(training_samples()))
    found.save(folder / "set")
    again = CondensedDataset.load(folder / "set")
    assert again.preprocessing["whitening"] == "zca"
    test = labeled(training_samples(2, 30))
    assert torch.equal(again.standardized("x", test)[0], found.standardized("x", test)[0])


def test_a_normalized_test_set_is_refused(folder: Path) -> None:
    found = CondensedDataset.from_pt(folder / "images_zca_best.pt", whitening=labeled(training_samples()))
    normalized = labeled((training_samples(2, 30) - 0.5) / 0.17)
    with pytest.raises(ValueError, match="another value space"):
        found.evaluate(normalized, progress=False)


@pytest.mark.parametrize(
    "name", ["images_zca_best.pt", "ZCA.pt", "cifar10_zca_50ipc/images.pt", "cifar10-zca/images_best.pt"]
)
def test_names_of_whitened_files_are_asked(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    torch.save([torch.randn(6, 3, 6, 6), LABELS], path)
    with pytest.raises(ValueError, match=r"named as ZCA-whitened.*Give whitening= the training set"):
        CondensedDataset.from_pt(path)
    assert len(CondensedDataset.from_pt(path, whitening="none")) == 6


def test_any_file_of_a_list_may_be_whitened(folder: Path) -> None:
    torch.save([torch.randn(6, 3, 6, 6), LABELS], folder / "other.pt")
    torch.save([torch.randn(6, 3, 6, 6), LABELS], folder / "zca.pt")
    with pytest.raises(ValueError, match=r"zca.pt is named as ZCA-whitened"):
        CondensedDataset.from_pt([folder / "other.pt", folder / "zca.pt"])


@pytest.mark.parametrize("name", ["no_zca/images_best.pt", "run_NO_ZCA.pt", "without-zca.pt", "wizcard.pt"])
def test_other_names_are_not(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    torch.save([torch.randn(6, 3, 6, 6), LABELS], path)
    assert len(CondensedDataset.from_pt(path)) == 6


@pytest.mark.parametrize(
    "values",
    [
        lambda: whiten(training_samples(1, 6)),
        lambda: training_samples(1, 6),
        lambda: training_samples(1, 6) * 255,
        lambda: torch.zeros(6, 3, 6, 6),
        lambda: 9 * torch.randn(6, 3, 6, 6),
    ],
    ids=["whitened", "0 to 1", "0 to 255", "constant", "noise"],
)
def test_values_far_from_normalized_are_asked(values: Any, tmp_path: Path) -> None:
    torch.save([values(), LABELS], tmp_path / "data.pt")
    with pytest.raises(ValueError, match=r"far from normalized ones .*normalized=False.*whitening="):
        CondensedDataset.from_pt(tmp_path / "data.pt")
    with pytest.raises(ValueError, match=r"far from normalized ones"):
        CondensedDataset.from_pt(tmp_path / "data.pt", mean=[0.5], std=[0.2])


def test_images_that_were_mapped_back(tmp_path: Path) -> None:
    """MTT's code stores them as images_zca_<iteration>.pt, in [0, 1]; networks still learn from whitened ones."""
    torch.save(training_samples(1, 6), tmp_path / "images_zca_5000.pt")
    torch.save(LABELS, tmp_path / "labels_5000.pt")
    whitening = labeled(training_samples())
    found = CondensedDataset.from_pt(tmp_path / "images_zca_5000.pt", whitening=whitening, normalized=False)
    assert torch.allclose(found.images, training_samples(1, 6), atol=1e-5)
    assert torch.allclose(found.metadata.space.standardize(found.images), whiten(training_samples(1, 6)), atol=1e-4)
    facts: dict[str, Any] = {"normalized": False, "mean": [0.5] * 3, "std": [0.2] * 3}
    plain = CondensedDataset.from_pt(tmp_path / "images_zca_5000.pt", whitening="none", **facts)
    assert torch.allclose(plain.images, training_samples(1, 6), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: labeled((training_samples() - 0.5) / 0.2), r"values in \[0, 1\]. Give the training set without Norm"),
        (lambda: labeled(training_samples()[:, :1]), r"samples of shape \(1, 6, 6\), but the images have shape"),
        (lambda: "zca", "whitening='zca' is not 'none', a training set"),
        (lambda: (torch.zeros(3), torch.eye(3)), r"need \(108,\) and \(108, 108\)"),
        (lambda: (torch.zeros(108), torch.rand(108, 108)), "not symmetric"),
        (lambda: (torch.zeros(108), torch.zeros(108, 108)), "cannot be inverted"),
        (lambda: (torch.zeros(108), torch.eye(108) / 0), "not finite"),
    ],
)
def test_whitenings_that_do_not_fit(given: Any, message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        CondensedDataset.from_pt(folder / "images_zca_best.pt", whitening=given())
    with pytest.raises(ValueError, match="whitening= replaces mean= and std="):
        CondensedDataset.from_pt(folder / "images_zca_best.pt", whitening=given(), mean=[0.5], std=[0.2])
