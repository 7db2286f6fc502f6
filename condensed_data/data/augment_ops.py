"""The operations of differentiable siamese augmentation (DSA), written as one differentiable path.

The path is color, one resampling, one mask. The parameters of an operation that is not drawn are neutral, so that
every step has the same shape. All operations act on standardized samples and fill with zero, the mean of the data.

Deviations from the authors' code: rotation respects the aspect ratio of non-square images, and resampling uses
`align_corners=False` (their torch 1.2 had True). Signals (C, L) are treated as images of height one: translation,
scaling and cutout act along the signal; "flip" and "rotate" leave it as it is. Letters: G blocks, R rows of a block
that have parameters of their own, B rows, C channels, H, W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.batch import repeat_per_block
from condensed_data.core.device import to_device

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
NUM_UNIFORMS = 11  # uniform numbers for the parameters of all operations


@dataclass(frozen=True)
class Strengths:
    """Strengths of the operations; see `SiameseAugment`."""

    flip: float
    scale: float
    rotate: float
    crop: float
    cutout: float
    brightness: float
    saturation: float
    contrast: float


@dataclass(frozen=True)
class Parameters:
    """Parameters of all operations: for each block (R = 1), or for each row of each block (R > 1)."""

    color: Tensor | None  # (G, R, 3): brightness to add, saturation and contrast factors
    theta: Tensor | None  # (G, R, 2, 3): affine map from output to input coordinates
    mask: Tensor | None  # (G, R, 1, H, W): 0 where cut out, else 1

    @staticmethod
    def make(strengths: Strengths, u: Tensor, active: Tensor, size: tuple[int, int]) -> Parameters:
        """Compute parameters from numbers u (G, R, NUM_UNIFORMS), uniform in [0, 1).

        `active` (G, 6) bool are the operations that apply to each block; `size` is (H, W).
        """
        on = {name: active[:, i, None] for i, name in enumerate(OPERATIONS)}  # (G, 1) each
        color = torch.stack(
            [
                torch.where(on["color"], (u[..., 0] - 0.5) * strengths.brightness, 0.0),
                torch.where(on["color"], u[..., 1] * strengths.saturation, 1.0),
                torch.where(on["color"], u[..., 2] + strengths.contrast, 1.0),
            ],
            -1,
        )
        geometry = on["crop"] | on["flip"] | on["scale"] | on["rotate"]
        return Parameters(
            color if bool(on["color"].any()) else None,
            _theta(strengths, u, on, size) if bool(geometry.any()) else None,
            _mask(strengths, u, on["cutout"], size) if bool(on["cutout"].any()) else None,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Parameters:
        """The same parameters on another device and in another floating-point type."""
        tensors: list[Any] = [
            None if tensor is None else to_device(tensor, device, dtype)
            for tensor in (self.color, self.theta, self.mask)
        ]
        return Parameters(*tensors)

    def __call__(self, x: Tensor, sizes: Sequence[int]) -> Tensor:
        """Augment rows (B, C, H, W) in blocks of these sizes."""
        if self.color is not None:
            x = _recolor(x, _per_row(self.color, sizes))
        if self.theta is not None:
            x = _resample(x, self.theta, sizes)
        if self.mask is not None:
            x = x * _per_row(self.mask, sizes)
        return x


def _per_row(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Parameters (G, R, ...) of each row: (B, ...)."""
    if values.shape[1] > 1:
        return torch.cat([block[:size] for block, size in zip(values, sizes, strict=True)])
    return repeat_per_block(values[:, 0], sizes)


def _resample(x: Tensor, theta: Tensor, sizes: Sequence[int]) -> Tensor:
    if theta.shape[1] > 1 or len(set(sizes)) > 1:
        return F.grid_sample(x, _grid(_per_row(theta, sizes), x), align_corners=False)
    # Rows of a block share their grid: as channels of one image, they share one computation of the weights.
    blocks = x.reshape(len(sizes), -1, *x.shape[-2:])
    return F.grid_sample(blocks, _grid(theta[:, 0], blocks), align_corners=False).view_as(x)


def _grid(theta: Tensor, x: Tensor) -> Tensor:
    return F.affine_grid(theta, [len(theta), 1, *x.shape[-2:]], align_corners=False)


def _recolor(x: Tensor, color: Tensor) -> Tensor:
    brightness, saturation, contrast = color.view(len(color), 3, 1, 1, 1).unbind(1)
    x = x + brightness
    gray = x.mean(1, keepdim=True)
    x = (x - gray) * saturation + gray
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * contrast + mean


def _theta(strengths: Strengths, u: Tensor, on: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    """(G, R, 2, 3) affine maps in normalized coordinates; the identity for blocks without a geometric operation."""
    height, width = size
    signal = height == 1
    low = 1 / strengths.scale
    sx = torch.where(on["scale"], low + u[..., 3] * (strengths.scale - low), 1.0)
    sy = torch.where(on["scale"] & (not signal), low + u[..., 4] * (strengths.scale - low), 1.0)
    sx = torch.where(on["flip"] & (u[..., 5] < strengths.flip) & (not signal), -sx, sx)
    angle = torch.where(on["rotate"] & (not signal), (u[..., 6] * 2 - 1) * math.radians(strengths.rotate), 0.0)
    dx, dy = (
        torch.where(on["crop"], _integers(u[..., 7 + i], int(side * strengths.crop + 0.5)) * (2 / side), 0.0)
        for i, side in enumerate((width, height))
    )
    cos, sin = angle.cos(), angle.sin()
    # rotation after flip and scaling: a composition (`always`) must not become a shear
    rows = [sx * cos, -sy * sin * (height / width), dx, sx * sin * (width / height), sy * cos, dy]
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


def _integers(u: Tensor, limit: int) -> Tensor:
    """Integers in [-limit, limit] from uniform numbers."""
    return (u * (2 * limit + 1)).floor() - limit


def _mask(strengths: Strengths, u: Tensor, on: Tensor, size: tuple[int, int]) -> Tensor:
    """(G, R, 1, H, W): 0 inside a square that may extend over the border, else 1."""
    cut = []
    for i, side in enumerate(size):
        length = 1 if side == 1 else int(side * strengths.cutout + 0.5)
        center = (u[..., 9 + i] * (side + 1 - length % 2)).floor()
        start = (center - length // 2).unsqueeze(-1)
        pixels = torch.arange(side, dtype=u.dtype)
        cut.append((pixels >= start) & (pixels < start + length))
    inside = cut[0].unsqueeze(-1) & cut[1].unsqueeze(-2)
    return (~(inside & on[..., None, None])).to(u.dtype).unsqueeze(2)
