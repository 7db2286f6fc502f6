"""Value spaces: standardization, its inverse, and conversion to the samples of the source."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sources import ListDataset, real, real_of
from torch import Tensor

from condensed_data.data.sample import kind_of, to_tensor
from condensed_data.data.value_space import PIL_CHANNELS, SampleKind, ValueSpace

SHAPES = [(3, 5, 7), (2, 11), (6,)]


def drawn(count: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def offset(count: int, shape: tuple[int, ...]) -> Tensor:
    """Samples whose channels differ in mean and standard deviation."""
    channel = torch.arange(shape[0]).view(-1, *[1] * (len(shape) - 1))
    return drawn(count, shape) * (0.3 + channel) + 2 * channel - 1


@pytest.mark.parametrize("shape", SHAPES)
def test_standardized_as_in_double_precision(shape: tuple[int, ...]) -> None:
    samples = offset(2500, shape)  # more than one chunk
    values = samples.double().numpy()
    axes = (0, *range(2, values.ndim))
    mean, std = values.mean(axes, keepdims=True), values.std(axes, keepdims=True)
    source = real(samples)
    np.testing.assert_allclose(source.space.mean, mean.ravel(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(source.space.std, std.ravel(), rtol=1e-6)
    np.testing.assert_allclose(source[torch.arange(40)], ((values - mean) / std)[:40], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_restore_undoes_standardize(shape: tuple[int, ...]) -> None:
    samples = offset(50, shape)
    space = real(samples).space
    torch.testing.assert_close(space.restore(space.standardize(samples)), samples, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_standardized_source_keeps_its_values(shape: tuple[int, ...]) -> None:
    samples = drawn(3000, shape)
    source = real(samples)
    assert source.space.mean.tolist() == [0] * shape[0]
    assert source.space.std.tolist() == [1] * shape[0]
    assert torch.equal(source[torch.arange(3000)], samples)


@pytest.mark.parametrize(("factor", "shift"), [(0.5, 0.0), (1.0, 0.3)])
def test_one_channel_that_is_not_standardized_rescales_all(factor: float, shift: float) -> None:
    samples = drawn(3000, (2, 4, 4))
    samples[:, 1] = samples[:, 1] * factor + shift
    space = real(samples).space
    assert float(space.std[1]) == pytest.approx(factor, rel=0.02)
    assert float(space.mean[1]) == pytest.approx(shift, abs=0.02)
    assert float(space.std[0]) != 1


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e5])
def test_a_constant_channel_is_only_centered(value: float) -> None:
    samples = offset(3000, (2, 6))
    samples[:, 0] = value
    source = real(samples)
    assert float(source.space.std[0]) == 1
    torch.testing.assert_close(
        source[torch.arange(9)][:, 0], torch.zeros(9, 6), rtol=0, atol=0.01 if value > 1 else 1e-6
    )


@pytest.mark.parametrize("unit", [1e-13, 1e-6, 1e6])
def test_signals_in_any_unit_are_standardized(unit: float) -> None:
    standard = real(drawn(500, (2, 20)) * unit + unit)[torch.arange(500)]
    torch.testing.assert_close(standard.mean((0, 2)), torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(standard.std((0, 2)), torch.ones(2), rtol=1e-3, atol=0)


def picture(mode: str) -> Image.Image:
    channels = PIL_CHANNELS[mode]
    values = np.random.default_rng(0).integers(0, 256, (9, 14, channels), dtype=np.uint8)
    return Image.fromarray(values[:, :, 0] if channels == 1 else values)


@pytest.mark.parametrize("mode", sorted(PIL_CHANNELS))
def test_pil_images_survive_the_round_trip(mode: str) -> None:
    image = picture(mode)
    kind = kind_of(image, 0)
    assert kind == SampleKind(f"pil:{mode}", (PIL_CHANNELS[mode], 9, 14))
    pixels = to_tensor(image)
    assert pixels.shape == kind.shape
    source = real_of(ListDataset([(image, 0), (image.transpose(Image.Transpose.FLIP_TOP_BOTTOM), 1)]))
    assert float(source.space.mean.max()) < 1  # PIL images count as [0, 1]
    back = kind.to_sample(source.space.restore(source[torch.tensor([0])])[0])
    assert back.mode == mode
    assert back.size == (14, 9)
    assert np.array_equal(np.array(back), np.array(image))


def test_every_8_bit_value_survives_the_round_trip() -> None:
    samples = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    source = real(samples)
    assert float(source.space.mean) == pytest.approx(127.5)  # uint8 tensors count as [0, 255]
    restored = source.space.restore(source[torch.arange(4)])
    assert torch.equal(torch.stack([source.kind.to_sample(sample) for sample in restored]), samples)


def test_8_bit_samples_are_rounded_and_clamped_on_output() -> None:
    beyond = torch.tensor([[[-0.2, 0.5 / 255 + 1e-4, 0.499 / 255, 1.3]]])
    assert np.array(SampleKind("pil:L", (1, 1, 4)).to_sample(beyond)).tolist() == [[0, 1, 0, 255]]
    emitted = SampleKind("tensor:uint8", (1, 1, 4)).to_sample(beyond * 255)
    assert emitted.dtype == torch.uint8
    assert emitted.tolist() == [[[0, 1, 0, 255]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_float_samples_keep_their_dtype_and_their_range(dtype: torch.dtype) -> None:
    sample = torch.tensor([-3.5, 0.25, 700.0])
    kind = kind_of(sample.to(dtype), 0)
    emitted = kind.to_sample(sample)
    assert not kind.eight_bit
    assert emitted.dtype == dtype
    assert emitted.tolist() == [-3.5, 0.25, 700.0]


@pytest.mark.parametrize(("name", "max_value"), [("pil:RGB", 1.0), ("tensor:uint8", 255.0)])
def test_rounding_to_8_bits_equals_the_output(name: str, max_value: float) -> None:
    kind = SampleKind(name, (3, 4, 5))
    samples = torch.rand(6, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 1.4 * max_value - 0.2 * max_value
    rounded = kind.round_to_8_bits(samples)
    out = torch.stack([to_tensor(kind.to_sample(sample)) for sample in samples])
    torch.testing.assert_close(rounded, out.float() * (max_value / 255), rtol=0, atol=1e-6 * max_value)


def test_the_space_adapts_to_shape_and_dtype_of_the_samples() -> None:
    space = ValueSpace(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    assert space.standardize(torch.tensor([[1, 6]], dtype=torch.uint8)).tolist() == [[0, 1]]
    assert space.restore(torch.ones(1, 2, 1, 1)).flatten().tolist() == [2, 6]
    assert space.restore(torch.ones(1, 2, 3)).shape == (1, 2, 3)
