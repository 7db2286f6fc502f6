"""FRePo's augmentation equals loops over pixels, written from its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DatasetInfo
from condensed_data.data.frepo_augment import OPERATIONS, FRePoAugment, FRePoOps

SHAPE = (2, 8, 12)


def rows() -> Tensor:
    return torch.randn(5, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def augmented(op: str, sizes: tuple[int, ...] = (5,)) -> Tensor:
    draw = FRePoAugment((op,)).draw(RandomStreams(3), 7, list(range(len(sizes))), SHAPE)
    return draw(Batch(rows(), torch.zeros(5, dtype=torch.int64), sizes))


def uniforms() -> list[list[float]]:
    """The numbers of five rows of block 0."""
    found: list[list[float]] = RandomStreams(3).uniform("augment", 7, [0], 15).view(5, 3).tolist()
    return found


def look_up(image: np.ndarray, source: Callable[[float, float], tuple[float, float]]) -> np.ndarray:
    """Pixels at (y, x) from the center come from `source`, interpolated; beyond the border its pixels repeat."""
    _, height, width = image.shape
    out = np.zeros_like(image)
    for i, j in np.ndindex(height, width):
        y, x = source(i - (height / 2 - 0.5), j - (width / 2 - 0.5))
        row, column = y + height / 2 - 0.5, x + width / 2 - 0.5
        for a in (math.floor(row), math.floor(row) + 1):
            for b in (math.floor(column), math.floor(column) + 1):
                weight = (1 - abs(row - a)) * (1 - abs(column - b))
                out[:, i, j] += weight * image[:, min(max(a, 0), height - 1), min(max(b, 0), width - 1)]
    return out


def crop(image: np.ndarray, u: list[float]) -> np.ndarray:
    zoom = math.exp((2 * u[0] - 1) * math.log(1.25))
    dx, dy = ((2 * u[1 + k] - 1) * abs(side * zoom - side) / 2 for k, side in enumerate((12, 8)))
    return look_up(image, lambda y, x: ((y + dy) / zoom, (x + dx) / zoom))


def rotate(image: np.ndarray, u: list[float]) -> np.ndarray:
    angle = (2 * u[0] - 1) * math.radians(15)
    sin, cos = math.sin(angle), math.cos(angle)
    return look_up(image, lambda y, x: (cos * y + sin * x, -sin * y + cos * x))


def translate(image: np.ndarray, u: list[float]) -> np.ndarray:
    return look_up(image, lambda y, x: (y + (2 * u[1] - 1) * 8 / 8, x + (2 * u[0] - 1) * 12 / 8))


def flip(image: np.ndarray, u: list[float]) -> np.ndarray:
    return image[:, :, ::-1] if u[0] < 0.5 else image


def cutout(image: np.ndarray, u: list[float]) -> np.ndarray:
    top, left = math.floor(u[0] * 7), math.floor(u[1] * 10)
    out = image.copy()
    out[:, top : top + 2, left : left + 3] = 0
    return out


def color(image: np.ndarray, u: list[float]) -> np.ndarray:
    brightness, saturation, contrast = (2 * u[0] - 1) / 4, *(math.exp((2 * v - 1) / 4) for v in u[1:])
    out = image + brightness
    out = (out - out.mean()) * contrast + out.mean()
    return (out - out.mean(0)) * saturation + out.mean(0)


LOOPS: dict[str, Any] = {
    "flip": flip,
    "color": color,
    "crop": crop,
    "rotate": rotate,
    "translate": translate,
    "cutout": cutout,
}


@pytest.mark.parametrize("op", OPERATIONS)
def test_operations_equal_loops(op: str) -> None:
    expected = np.stack([LOOPS[op](x.numpy(), u) for x, u in zip(rows(), uniforms(), strict=True)])
    torch.testing.assert_close(augmented(op), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)
    assert not torch.equal(augmented(op), rows())


def test_each_block_draws_its_operation() -> None:
    draw = FRePoAugment(OPERATIONS).draw(RandomStreams(0), 0, [4, 5], SHAPE)
    both = draw(Batch(rows(), torch.zeros(5, dtype=torch.int64), (3, 2)))
    for block, part, x in ((4, both[:3], rows()[:3]), (5, both[3:], rows()[3:])):
        alone = FRePoAugment(OPERATIONS).draw(RandomStreams(0), 0, [block], SHAPE)
        assert torch.equal(alone(Batch(x, torch.zeros(len(x), dtype=torch.int64), (len(x),))), part)
    drawn = set()
    for step in range(60):
        number = float(RandomStreams(0).uniform("augment op", step, [0], 1))
        drawn.add(OPERATIONS[int(number * 6)])
    assert drawn == set(OPERATIONS)


def test_where_it_flips_and_what_it_leaves() -> None:
    animals, digits = ("cat", "dog"), ("0", "1")
    assert FRePoOps()(DatasetInfo((3, 8, 8), animals, 1)) == OPERATIONS
    for info in (
        DatasetInfo((3, 8, 8), digits, 1),
        DatasetInfo((1, 8, 8), animals, 1),
        DatasetInfo((3, 8, 8), animals, 1, named=False),
    ):
        assert FRePoOps()(info) == OPERATIONS[1:]
    vectors = Batch(torch.randn(3, 4), torch.zeros(3, dtype=torch.int64), (3,))
    assert FRePoAugment(OPERATIONS).draw(RandomStreams(0), 0, [0], (4,))(vectors) is vectors.x
    for ops in ((), ("scale",)):
        with pytest.raises(ValueError, match=r"FRePoAugment\(ops=.* must be a tuple of these operations"):
            FRePoAugment(ops)
