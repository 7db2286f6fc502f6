"""Samples stored as coefficients of their cosine transform, against sums of cosines."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from pool_data import context, small_real, through_a_file
from torch import Tensor

from condensed_data.core.spec import from_json, to_json
from condensed_data.data.augment import Identity
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.base import SyntheticData
from condensed_data.methods.coresets import Random
from condensed_data.methods.objectives import Distribution
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.synthetic import Frequency, MultiFormation
from condensed_data.methods.synthetic.frequency import transform
from condensed_data.networks import ConvNet, ConvNet1d

SHAPES = ((1, 8, 8), (3, 9, 7), (2, 11))


def everything(synthetic_data: SyntheticData) -> Tensor:
    return synthetic_data.decode(torch.arange(len(synthetic_data.labels)))


def wave(frequency: int, at: int, side: int) -> float:
    scale = math.sqrt((1 if frequency == 0 else 2) / side)
    return scale * math.cos(math.pi * frequency * (2 * at + 1) / (2 * side))


def coefficient(image: Tensor, u: int, v: int) -> float:
    """The transform of an image (H, W), by definition."""
    height, width = image.shape
    return sum(float(image[i, j]) * wave(u, i, height) * wave(v, j, width) for i in range(height) for j in range(width))


def test_the_transform_is_a_sum_of_cosines_and_its_inverse() -> None:
    images = torch.randn(2, 2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = transform(images)
    for n, c, u, v in ((0, 0, 0, 0), (0, 1, 2, 3), (1, 0, 4, 0), (1, 1, 3, 1)):
        assert float(found[n, c, u, v]) == pytest.approx(coefficient(images[n, c], u, v), abs=1e-12)
    torch.testing.assert_close(transform(found, inverse=True), images, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.square().sum(), images.square().sum())  # lengths stay


def test_the_kept_frequencies_vary_most_in_their_class() -> None:
    ctx = context(small_real((2, 5, 4)), ipc=1)
    spec = Frequency(0.25)
    synthetic_data = spec.start(ctx)
    mask = spec.restore(synthetic_data.tensors(), synthetic_data.labels, (2, 5, 4)).positions  # type: ignore[attr-defined]
    assert mask.shape == (3, 2, 5)
    for label in range(3):
        rows = ctx.real[(ctx.real.labels == label).nonzero()[:, 0]]
        for c in range(2):
            values = [[coefficient(row[c], u, v) for u in range(5) for v in range(4)] for row in rows]
            variance = torch.tensor(values).var(0, correction=0)
            assert mask[label, c].tolist() == sorted(variance.argsort(descending=True)[:5].tolist())


def test_a_class_has_as_many_samples_as_the_budget_allows() -> None:
    ctx = context(small_real((1, 8, 8)), ipc=2)
    synthetic_data = Frequency(1 / 16).start(ctx)
    assert synthetic_data.labels.bincount().tolist() == [32] * 3
    coefficients = synthetic_data.learned["coefficients"]
    assert coefficients.numel() == 2 * 3 * 64
    assert synthetic_data.stored_floats == 2 * 3 * 64 + 3 * 64 // 32
    mask = synthetic_data.tensors()["mask"]
    assert mask.dtype == torch.uint8
    assert mask.shape == (3, 1, 8)
    grouped = Frequency(0.5).start(context(small_real(groups=[i % 2 for i in range(57)]), ipc=2))
    assert grouped.groups.bincount().tolist() == [2] * 6


@pytest.mark.parametrize("shape", SHAPES)
def test_samples_start_as_real_ones_without_the_other_frequencies(shape: tuple[int, ...]) -> None:
    ctx = context(small_real(shape), ipc=2)
    synthetic_data = Frequency(1.0).start(ctx)
    drawn = Random().samples(ctx, [2, 2, 2])
    torch.testing.assert_close(everything(synthetic_data).detach(), drawn, rtol=1e-5, atol=1e-5)
    few = Frequency(0.2).start(ctx)
    original = transform(Random().samples(ctx, few.groups.bincount().tolist())).flatten(2)
    found = transform(everything(few).detach()).flatten(2)
    zero = found.abs() < 1e-5
    assert ((~zero).sum(2) == few.learned["coefficients"].shape[2]).all()
    torch.testing.assert_close(found[~zero], original[~zero], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_stored_samples_are_restored_and_rows_come_in_any_order(shape: tuple[int, ...]) -> None:
    for spec in (Frequency(0.3), MultiFormation(Frequency(0.3))):
        synthetic_data = spec.start(context(small_real(shape), ipc=2))
        whole = everything(synthetic_data)
        index = torch.tensor([len(whole) - 1, 2, 2, 0])
        torch.testing.assert_close(synthetic_data.decode(index), whole[index], rtol=1e-5, atol=1e-5)
        restored = from_json(to_json(spec)).restore(synthetic_data.tensors(), synthetic_data.labels, shape)
        assert torch.equal(everything(restored), whole)


@pytest.mark.parametrize("shape", SHAPES)
def test_everything_learns_and_resumes_to_the_same_bits(
    shape: tuple[int, ...], tmp_path: Path, untouched_rng: None
) -> None:
    network = ConvNet1d(width=4, depth=1) if len(shape) == 2 else ConvNet(width=4, depth=1)
    term = Term(Distribution(), RandomInit(network), PerGroup(16), Identity())
    recipe = Recipe("fred", Frequency(0.25), (term,), Optimizer("adam", lr=0.02), iterations=6, ipc=2)
    runs = [CondensationRun(recipe, context(small_real(shape))) for _ in range(3)]
    before = runs[0].synthetic_data.learned["coefficients"].detach().clone()
    for run, steps in zip(runs, (6, 3, 0), strict=True):
        for _ in range(steps):
            run.step()
    runs[2].load_state_dict(through_a_file(runs[1].state_dict(), tmp_path))
    for _ in range(3):
        runs[2].step()
    after = runs[0].synthetic_data.learned["coefficients"]
    assert torch.equal(after, runs[2].synthetic_data.learned["coefficients"])
    assert bool((after.detach() != before).all())


def test_vectors_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"not vectors of shape \(5,\)"):
        Frequency().check((5,))
    for fraction in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
            Frequency(fraction)
