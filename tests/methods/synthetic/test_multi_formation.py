"""Multi-formation against loops over pixels, and the clamp of stored pixels."""

from __future__ import annotations

import math

import pytest
import torch
from sources import real, real_of
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data.core.rng import RandomStreams
from condensed_data.methods.base import SyntheticData
from condensed_data.methods.coresets import Noise, Random
from condensed_data.methods.synthetic import MultiFormation, Pixels
from condensed_data.training.context import Context

SHAPES = ((1, 8, 8), (3, 9, 7), (2, 11), (2, 12))


def context(shape: tuple[int, ...], ipc: int = 2, seed: int = 0) -> Context:
    samples = torch.rand(40, *shape, generator=torch.Generator().manual_seed(1))
    return Context(real(samples), ipc, RandomStreams(seed), torch.device("cpu"))


def start(shape: tuple[int, ...], factor: int = 2, init: str = "mix", ipc: int = 2) -> SyntheticData:
    return MultiFormation(Pixels(), factor, init).start(context(shape, ipc))


def everything(synthetic_data: SyntheticData) -> Tensor:
    return synthetic_data.decode(torch.arange(len(synthetic_data.labels)))


def position(out: int, cell: int, side: int) -> tuple[int, int, float]:
    """The two neighbors of an output pixel in a cell and the weight of the second; centers at half-integers."""
    at = max((out + 0.5) * cell / side - 0.5, 0.0)
    low = min(math.floor(at), cell - 1)
    return low, min(low + 1, cell - 1), at - low


def oracle(stored: Tensor, factor: int, pad: Tensor) -> Tensor:
    """(C, H, W) -> (f * f, C, H, W), pixel by pixel."""
    channels, height, width = stored.shape
    h, w = math.ceil(height / factor), math.ceil(width / factor)

    def pixel(c: int, i: int, j: int) -> float:
        return float(stored[c, i, j] if i < height and j < width else pad[c])

    out = torch.zeros(factor * factor, channels, height, width, dtype=torch.float64)
    for cell in range(factor * factor):
        top, left = cell // factor * h, cell % factor * w
        for c in range(channels):
            for y in range(height):
                for x in range(width):
                    i0, i1, u = position(y, h, height)
                    j0, j1, v = position(x, w, width)
                    value = 0.0
                    for i, a in ((i0, 1 - u), (i1, u)):
                        for j, b in ((j0, 1 - v), (j1, v)):
                            value += a * b * pixel(c, top + i, left + j)
                    out[cell, c, y, x] = value
    return out


@pytest.mark.parametrize(("shape", "factor"), [((1, 8, 8), 2), ((3, 9, 7), 2), ((2, 8, 9), 3)])
def test_decoding_equals_a_loop_over_pixels(shape: tuple[int, ...], factor: int) -> None:
    synthetic_data = start(shape, factor)
    stored = synthetic_data.learned["images"].detach()
    pad = synthetic_data.tensors().get("pad", torch.zeros(shape[0]))
    decoded = everything(synthetic_data).detach()
    assert decoded.shape == (len(stored) * factor**2, *shape)
    expected = torch.cat([oracle(image, factor, pad) for image in stored])
    torch.testing.assert_close(decoded.double(), expected, rtol=1e-5, atol=1e-5)


def test_signals_are_cut_along_their_length() -> None:
    synthetic_data = start((2, 11), 3)
    stored, pad = synthetic_data.learned["images"].detach(), synthetic_data.tensors()["pad"]
    decoded = everything(synthetic_data).detach()
    assert decoded.shape == (4 * 3, 2, 11)
    images = oracle(torch.cat([stored[1], pad[:, None]], 1)[:, None].expand(2, 12, 12), 3, pad)
    assert images.shape[0] == 9
    low, high, share = position(5, 4, 11)
    last = torch.cat([stored[1], pad[:, None]], 1)[:, 8:]
    torch.testing.assert_close(decoded[5, :, 5], (1 - share) * last[:, low] + share * last[:, high])


def test_it_starts_with_grids_of_downsampled_real_samples() -> None:
    ctx = context((1, 8, 6))
    stored = MultiFormation(Pixels(Random()), 2).start(ctx).learned["images"].detach()
    drawn = Random().samples(ctx, [8, 8])
    for number, original in enumerate(drawn):
        image, cell = divmod(number, 4)
        for i in range(4):
            for j in range(3):
                mean = original[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()
                found = stored[image, 0, cell // 2 * 4 + i, cell % 2 * 3 + j]
                assert float(found) == pytest.approx(float(mean), abs=1e-6)


def test_signals_start_with_downsampled_real_ones_cropped_at_the_end() -> None:
    ctx = context((2, 11))
    stored = MultiFormation(Pixels(Random()), 2).start(ctx).learned["images"].detach()
    drawn = Random().samples(ctx, [4, 4])
    assert stored.shape == (4, 2, 11)
    reduced = torch.nn.functional.adaptive_avg_pool1d(drawn, 6)
    assert torch.equal(stored[:, :, :6], reduced[0::2])
    assert torch.equal(stored[:, :, 6:], reduced[1::2, :, :5])


def test_labels_groups_and_budget() -> None:
    synthetic_data = start((3, 9, 7), ipc=3)
    assert synthetic_data.labels.tolist() == [0] * 12 + [1] * 12
    assert synthetic_data.groups.tolist() == [0] * 12 + [1] * 12
    assert synthetic_data.targets(torch.tensor([11, 12])).tolist() == [0, 1]
    assert synthetic_data.stored_floats == 6 * 3 * 9 * 7 + 3  # the padding's color is stored too
    assert start((1, 8, 8), ipc=3).stored_floats == 6 * 64


def test_any_rows_in_any_order_and_repeated() -> None:
    synthetic_data = start((3, 9, 7))
    index = torch.tensor([7, 0, 7, 13, 2])
    torch.testing.assert_close(synthetic_data.decode(index), everything(synthetic_data)[index], rtol=0, atol=0)


def test_the_gradient_reaches_every_stored_pixel() -> None:
    synthetic_data = start((2, 6, 5), ipc=1)
    images = synthetic_data.learned["images"]
    weight = torch.randn(8, 2, 6, 5, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad((everything(synthetic_data) * weight).sum(), images)
    assert bool((gradient != 0).all())
    moved, step = images.detach().clone(), 1e-2
    with torch.no_grad():
        before = float((everything(synthetic_data) * weight).sum())
        images[1, 1, 5, 4] += step
        after = float((everything(synthetic_data) * weight).sum())
        images.copy_(moved)
    assert (after - before) / step == pytest.approx(float(gradient[1, 1, 5, 4]), rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_restored_data_decodes_to_the_same_samples(shape: tuple[int, ...]) -> None:
    spec = MultiFormation(Pixels(), 2)
    synthetic_data = spec.start(context(shape))
    restored = spec.restore(synthetic_data.tensors(), synthetic_data.labels, shape)
    assert torch.equal(everything(restored), everything(synthetic_data))
    assert torch.equal(restored.labels, synthetic_data.labels)


def test_the_padding_is_the_middle_of_the_value_range() -> None:
    samples = torch.randint(0, 256, (40, 1, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = real_of(TensorDataset(samples, torch.arange(40) % 2))
    ctx = Context(found, 1, RandomStreams(0), torch.device("cpu"))
    pad = MultiFormation(Pixels()).start(ctx).tensors()["pad"]
    restored = found.space.restore(pad.view(1, 1, 1, 1))
    assert float(restored) == pytest.approx(127.5, abs=1e-3)


def test_without_mixing_inner_samples_stay_whole() -> None:
    ctx = context((1, 8, 8))
    stored = MultiFormation(Pixels(Noise()), 2, "inner").start(ctx).learned["images"]
    assert torch.equal(stored, Noise().samples(ctx, [2, 2]))


def test_invalid_factors_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"not vectors of shape \(5,\)"):
        MultiFormation().check((5,))
    with pytest.raises(ValueError, match="last cells would be empty"):
        MultiFormation(factor=4).check((1, 5, 5))
    with pytest.raises(ValueError, match="factor=0"):
        MultiFormation(factor=0)
    with pytest.raises(ValueError, match="'mix', 'inner'"):
        MultiFormation(init="grid")
    with pytest.raises(ValueError, match=r"with MultiFormation, which has no `init`. Use init='inner'"):
        MultiFormation(MultiFormation())


def test_clamped_pixels_stay_in_the_range_of_the_source() -> None:
    ctx = context((2, 6, 6))
    low, high = ctx.real.all_samples().amin((0, 2, 3)), ctx.real.all_samples().amax((0, 2, 3))
    for spec, clamped in (
        (Pixels(clamp=True), True),
        (MultiFormation(Pixels(clamp=True)), True),
        (Pixels(), False),
    ):
        synthetic_data = spec.start(ctx)
        values = ctx.real.space.restore(moved_far(synthetic_data))
        inside = (values >= low.view(2, 1, 1) - 1e-5) & (values <= high.view(2, 1, 1) + 1e-5)
        assert bool(inside.all()) == clamped
    samples = torch.randint(9, 90, (40, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = real_of(TensorDataset(samples, torch.arange(40) % 2))
    synthetic_data = Pixels(clamp=True).start(Context(found, 1, RandomStreams(0), torch.device("cpu")))
    values = found.space.restore(moved_far(synthetic_data))
    torch.testing.assert_close(values.aminmax().min, torch.tensor(0.0), rtol=0, atol=1e-3)
    torch.testing.assert_close(values.aminmax().max, torch.tensor(255.0))


def moved_far(synthetic_data: SyntheticData) -> Tensor:
    """The stored samples after a step that leaves the range in both directions."""
    with torch.no_grad():
        images = synthetic_data.learned["images"]
        images.sub_(images.mean()).mul_(500)
    synthetic_data.clamp()
    return synthetic_data.tensors()["images"]


def test_clamped_pixels_start_like_others_and_learn_in_the_unit_range() -> None:
    ctx = context((2, 6, 6))
    free, unit = Pixels().start(ctx), Pixels(clamp=True).start(ctx)
    index = torch.arange(len(free.labels))
    torch.testing.assert_close(unit.decode(index), free.decode(index))
    low, high = ctx.real.all_samples().amin((0, 2, 3)), ctx.real.all_samples().amax((0, 2, 3))
    before = ctx.real.space.restore(unit.decode(index).detach())
    with torch.no_grad():
        unit.learned["images"].mul_(0.5)
    after = ctx.real.space.restore(unit.decode(index).detach())
    halved = (before - low.view(2, 1, 1)) / (high - low).view(2, 1, 1) / 2
    torch.testing.assert_close((after - low.view(2, 1, 1)) / (high - low).view(2, 1, 1), halved)
