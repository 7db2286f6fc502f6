"""The augmentation of DC's evaluation equals a loop over samples that follows the authors' procedure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, rotate
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.data.dc_augment import NUM_UNIFORMS, OPERATIONS, DCAugment

STREAMS = RandomStreams(3)


def images(count: int, channels: int = 1, side: int = 28) -> Tensor:
    """Blurred noise, as smooth as strokes of digits."""
    noise = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0)).numpy()
    blurred = torch.from_numpy(gaussian_filter(noise, (0, 0, 1.2, 1.2)))
    return (blurred - blurred.mean()) / blurred.std() + 0.3


def batch(x: Tensor, sizes: tuple[int, ...]) -> Batch:
    return Batch(x, torch.zeros(len(x), dtype=torch.int64), sizes)


def uniforms(iteration: int, rows: int) -> Tensor:
    return STREAMS.uniform("augment rows", iteration, [0], rows * NUM_UNIFORMS).view(rows, NUM_UNIFORMS)


def crop(x: Tensor, u: Tensor, means: Tensor) -> Tensor:
    side = x.shape[-1]
    most = round(side / 7)
    padded = means[:, None, None].repeat(1, side + 2 * most, side + 2 * most)
    padded[:, most : most + side, most : most + side] = x
    top, left = (int(value * 2 * most) for value in u)
    return padded[:, top : top + side, left : left + side]


def scale(x: Tensor, u: Tensor, means: Tensor) -> Tensor:
    side = x.shape[-1]
    height, width = (int((0.8 + 0.4 * float(value)) * side) for value in u)
    resized = F.interpolate(x[None], [height, width])[0]
    largest = max(height, width, side)
    canvas = torch.zeros(len(x), largest, largest)
    top, left = int((largest - height) / 2), int((largest - width) / 2)
    canvas[:, top : top + height, left : left + width] = resized
    start = int((largest - side) / 2)
    return canvas[:, start : start + side, start : start + side]


def turn(x: Tensor, u: Tensor, means: Tensor) -> Tensor:
    side, angle = x.shape[-1], int(float(u[0]) * 90) - 45
    turned = rotate(x.numpy(), angle=angle, axes=(-2, -1), cval=float(np.mean(means.numpy())))
    top, left = (int((turned.shape[axis] - side) / 2) for axis in (-2, -1))
    return torch.from_numpy(turned[:, top : top + side, left : left + side])


def expected(x: Tensor, u: Tensor) -> Tensor:
    means = x.mean((0, 2, 3))
    functions = (crop, scale, turn)
    return torch.stack([functions[int(3 * row[0])](image, row[1:], means) for image, row in zip(x, u, strict=True)])


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 28), (1, 17)])
def test_a_batch_equals_the_authors_loop(channels: int, side: int) -> None:
    x = images(60, channels, side)
    for iteration in range(5):
        ours = DCAugment().draw(STREAMS, iteration, [0], tuple(x.shape[1:]))(batch(x, (60,)))
        u = uniforms(iteration, 60)
        oracle, turned = expected(x, u), (3 * u[:, 0]).long() == 2
        torch.testing.assert_close(ours[~turned], oracle[~turned])
        # cubic convolution instead of splines; at the border their difference depends on what is outside
        error = (ours - oracle)[turned][..., side // 4 : -side // 4, side // 4 : -side // 4]
        assert float((error**2).mean().sqrt() / x.std()) < 0.04
    assert torch.equal(x, images(60, channels, side))  # the samples themselves do not change


def test_every_row_draws_one_of_the_operations_equally_often() -> None:
    count, x = 10_000, images(1)
    drawn = (3 * uniforms(7, count)[:, 0]).long().bincount(minlength=3) / count
    assert float((drawn - 1 / 3).abs().max()) < 0.02
    ours = DCAugment(("crop",)).draw(STREAMS, 7, [0], (1, 28, 28))(batch(x.expand(count, -1, -1, -1), (count,)))
    unmoved = (ours == x).flatten(1).all(1).float().mean()
    assert 1 / 64 - 0.005 < float(unmoved) < 1 / 64 + 0.005  # eight translations along each side


def test_blocks_draw_for_themselves_and_real_and_synthetic_rows_share_a_draw() -> None:
    x = images(4)
    apply = DCAugment().draw(STREAMS, 0, [5, 6], (1, 28, 28))
    alone = DCAugment().draw(STREAMS, 0, [6], (1, 28, 28))(batch(x, (4,)))
    both = apply(batch(torch.cat([x, x]), (4, 4)))
    torch.testing.assert_close(both[4:], alone)
    assert torch.equal(apply(batch(torch.cat([x, x]), (4, 4))), both)


@pytest.mark.parametrize("shape", [(12,), (2, 30)])
def test_vectors_and_signals_are_not_augmented(shape: tuple[int, ...]) -> None:
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    assert DCAugment().draw(STREAMS, 0, [0], shape)(batch(x, (3,))) is x


@pytest.mark.parametrize("op", OPERATIONS)
def test_gradients_flow_and_json_keeps_everything(op: str) -> None:
    spec = DCAugment((op,))
    x = images(3).requires_grad_()
    spec.draw(STREAMS, 0, [0], (1, 28, 28))(batch(x, (3,))).sum().backward()
    assert x.grad is not None
    assert bool((x.grad.flatten(1) != 0).any(1).all())
    assert specs.from_json(specs.to_json(spec)) == spec


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"ops": ("flip",)}, "ops="), ({"ops": ()}, "ops="), ({"crop": 1.0}, "crop="), ({"rotate": -1.0}, "rotate=")],
)
def test_errors_name_arguments_out_of_range(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"DCAugment\({message}"):
        DCAugment(**fields)
