"""The augmentation of DC's evaluation on digits: every sample is translated, scaled or rotated.

Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929, and the authors' `augment`. Unlike siamese
augmentation it draws the operation for each sample, and fills with the mean of the batch where it translates or
rotates. Letters: G blocks, B rows, C channels, H, W.

Deviation from the authors' code: rotated pixels are interpolated by cubic convolution instead of cubic splines, which
changes the pixels of MNIST by 7 % of their standard deviation (root mean square).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.annotations import NonNegative
from condensed_data.core.batch import Batch
from condensed_data.core.device import to_device
from condensed_data.core.rng import RandomStreams
from condensed_data.core.validation import require
from condensed_data.data.augment import Augment, AugmentFn, unchanged

OPERATIONS = ("crop", "scale", "rotate")
NUM_UNIFORMS = 3  # of a row: one for the operation, two for its parameters


@dataclass(frozen=True)
class DCAugment(Augment):
    """One of `ops`, drawn with its parameters for every row. Only images are augmented.

    Args:
        ops: operations to draw from, a subset of "crop", "scale" and "rotate".
        crop: largest translation, as a fraction of the side, in whole pixels: 4 of 28, and one less in one of the two
            directions.
        scale: sides are multiplied by factors in [1 - scale, 1 + scale), of which each has its own.
        rotate: largest angle, in whole degrees: from [-rotate, rotate).

    Raises:
        ValueError: for an unknown operation or a strength out of range.
    """

    ops: tuple[str, ...] = OPERATIONS
    crop: float = 1 / 7
    scale: float = 0.2
    rotate: NonNegative = 45

    def __post_init__(self) -> None:
        known = bool(self.ops) and all(op in OPERATIONS for op in self.ops)
        require(known, "DCAugment", "ops", self.ops, f"a tuple of these operations: {', '.join(OPERATIONS)}")
        for name in ("crop", "scale"):
            require(0 <= getattr(self, name) < 1, "DCAugment", name, getattr(self, name), "a fraction in [0, 1)")

    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        if len(sample_shape) != 3:
            return unchanged

        def augment(batch: Batch) -> Tensor:
            rows = max(batch.sizes)
            u = rng.uniform("augment rows", iteration, blocks, rows * NUM_UNIFORMS).view(-1, rows, NUM_UNIFORMS)
            return self.apply(batch.x, torch.cat([block[:size] for block, size in zip(u, batch.sizes, strict=True)]))

        return augment

    def apply(self, x: Tensor, u: Tensor) -> Tensor:
        """Augment rows (B, C, H, W) by numbers (B, NUM_UNIFORMS) on the CPU, uniform in [0, 1)."""
        drawn, fill = (u[:, 0] * len(self.ops)).long(), x.mean((0, 2, 3), keepdim=True)
        augmented = x.clone()
        for number, op in enumerate(self.ops):
            rows = (drawn == number).nonzero()[:, 0]
            if len(rows):
                on_device = to_device(rows, x.device)
                augmented[on_device] = _FUNCTIONS[op](self, x[on_device], u[rows, 1:], fill)
        return augmented


def _crop(spec: DCAugment, x: Tensor, u: Tensor, fill: Tensor) -> Tensor:
    limits = [int(side * spec.crop + 0.5) for side in x.shape[2:]]
    rows, columns = (
        torch.arange(side) + (u[:, i, None] * 2 * limit).floor().long() - limit
        for i, (side, limit) in enumerate(zip(x.shape[2:], limits, strict=True))
    )
    return _picked(x, rows, columns, fill)


def _scale(spec: DCAugment, x: Tensor, u: Tensor, _: Tensor) -> Tensor:
    """Nearest pixels of the scaled image, centered as the authors do, on zeros."""
    sides = torch.tensor(x.shape[2:])
    scaled = ((1 - spec.scale + 2 * spec.scale * u) * sides).long()  # (B, 2)
    canvas = torch.cat([scaled, sides.expand_as(scaled)], 1).amax(1, keepdim=True)
    starts = (canvas - sides) // 2 - (canvas - scaled) // 2
    positions = []
    for i, side in enumerate(x.shape[2:]):
        at, size = torch.arange(side) + starts[:, i, None], scaled[:, i, None]
        nearest = (at * (side / size)).floor().long()
        positions.append(torch.where((at >= 0) & (at < size), nearest, -1))
    return _picked(x, positions[0], positions[1], x.new_zeros(()))


def _picked(x: Tensor, rows: Tensor, columns: Tensor, fill: Tensor) -> Tensor:
    """The pixels of x (B, C, H, W) at `rows` (B, H) and `columns` (B, W), and `fill` outside of it."""
    rows, columns = to_device(rows, x.device), to_device(columns, x.device)
    (height, width), image = x.shape[2:], torch.arange(len(x), device=x.device)[:, None, None]
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None]
    pixels = x[image, :, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
    return torch.where(inside, pixels.movedim(-1, 1), fill)


def _rotate(spec: DCAugment, x: Tensor, u: Tensor, fill: Tensor) -> Tensor:
    angle = torch.deg2rad((u[:, 0] * 2 * spec.rotate).floor() - spec.rotate)
    (height, width), cos, sin = x.shape[2:], angle.cos(), angle.sin()
    # the rotated image has whole pixels: cutting its middle out is half a pixel off if a side became an odd one longer
    late_y, late_x = (
        ((side * cos + other * sin.abs() + 0.5).floor() - side) % 2 / 2
        for side, other in ((height, width), (width, height))
    )
    rows = [
        cos,
        -sin * height / width,
        (sin * late_y - cos * late_x) * 2 / width,
        sin * width / height,
        cos,
        -(cos * late_y + sin * late_x) * 2 / height,
    ]
    theta = to_device(torch.stack(rows, -1).unflatten(-1, (2, 3)), x.device, x.dtype)
    grid = F.affine_grid(theta, [len(x), 1, height, width], align_corners=False)
    middle = fill.mean()
    return F.grid_sample(x - middle, grid, "bicubic", align_corners=False) + middle


_FUNCTIONS = {"crop": _crop, "scale": _scale, "rotate": _rotate}
