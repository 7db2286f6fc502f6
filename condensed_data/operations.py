"""The operations of siamese augmentation on rows of samples, and their parameters.

See `condensed_data.data.augment` for which are drawn, and for the deviations from the paper.

Letters: G blocks, R rows of a block with parameters of their own, B rows, C channels, H, W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.batch import repeat_per_block
from condensed_data.core.device import to_device

if TYPE_CHECKING:
    from condensed_data.data.augment import SiameseAugment

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DRAWS = 11  # uniform numbers for the parameters of all operations


@dataclass(frozen=True)
class Parameters:
    """Parameters of all operations, for every block (G, 1, ...) or for every row of equal blocks (G, B/G, ...)."""

    color: Tensor | None  # (G, R, 3): brightness to add, saturation and contrast factors
    theta: Tensor | None  # (G, R, 2, 3): where each output pixel comes from
    keep: Tensor | None  # (G, R, 1, H, W): 0 where cut out

    @staticmethod
    def make(spec: SiameseAugment, u: Tensor, active: Tensor, size: tuple[int, int]) -> Parameters:
        on = {name: active[:, i, None] for i, name in enumerate(OPERATIONS)}  # (G, 1) each
        color = torch.stack(
            [
                torch.where(on["color"], (u[..., 0] - 0.5) * spec.brightness, 0.0),
                torch.where(on["color"], u[..., 1] * spec.saturation, 1.0),
                torch.where(on["color"], u[..., 2] + spec.contrast, 1.0),
            ],
            -1,
        )
        geometry = on["crop"] | on["flip"] | on["scale"] | on["rotate"]
        return Parameters(
            color if bool(on["color"].any()) else None,
            _theta(spec, u, on, size) if bool(geometry.any()) else None,
            _keep(spec, u, on["cutout"], size) if bool(on["cutout"].any()) else None,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Parameters:
        moved: list[Any] = [
            None if tensor is None else to_device(tensor, device, dtype)
            for tensor in (self.color, self.theta, self.keep)
        ]
        return Parameters(*moved)

    def __call__(self, x: Tensor, sizes: Sequence[int]) -> Tensor:
        """Rows (B, C, H, W) in blocks of these sizes, augmented."""
        if self.color is not None:
            x = _recolor(x, _of_rows(self.color, sizes))
        if self.theta is not None:
            x = _resample(x, self.theta, sizes)
        if self.keep is not None:
            x = x * _of_rows(self.keep, sizes)
        return x


def _of_rows(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Parameters (G, R, ...) for every row (B, ...)."""
    if values.shape[1] > 1:
        return torch.cat([block[:size] for block, size in zip(values, sizes, strict=True)])
    return repeat_per_block(values[:, 0], sizes)


def _resample(x: Tensor, theta: Tensor, sizes: Sequence[int]) -> Tensor:
    if theta.shape[1] > 1 or len(set(sizes)) > 1:
        return F.grid_sample(x, _grid(_of_rows(theta, sizes), x), align_corners=False)
    # Rows of a block share their grid: seen as channels of one image, the weights are computed once.
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


def _theta(spec: SiameseAugment, u: Tensor, on: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    """(G, R, 2, 3) affine maps in normalized coordinates; the identity where no geometry is drawn."""
    height, width = size
    signal = height == 1
    low = 1 / spec.scale
    sx = torch.where(on["scale"], low + u[..., 3] * (spec.scale - low), 1.0)
    sy = torch.where(on["scale"] & (not signal), low + u[..., 4] * (spec.scale - low), 1.0)
    sx = torch.where(on["flip"] & (u[..., 5] < spec.flip) & (not signal), -sx, sx)
    angle = torch.where(on["rotate"] & (not signal), (u[..., 6] * 2 - 1) * math.radians(spec.rotate), 0.0)
    dx, dy = (
        torch.where(on["crop"], _whole(u[..., 7 + i], int(side * spec.crop + 0.5)) * (2 / side), 0.0)
        for i, side in enumerate((width, height))
    )
    cos, sin = angle.cos(), angle.sin()
    # rotation after flip and scaling: a composition (`always`) must not become a shear
    rows = [sx * cos, -sy * sin * (height / width), dx, sx * sin * (width / height), sy * cos, dy]
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


def _whole(u: Tensor, limit: int) -> Tensor:
    """Whole numbers in [-limit, limit]."""
    return (u * (2 * limit + 1)).floor() - limit


def _keep(spec: SiameseAugment, u: Tensor, on: Tensor, size: tuple[int, int]) -> Tensor:
    """(G, R, 1, H, W): 0 inside a square that may reach over the border."""
    cut = []
    for i, side in enumerate(size):
        length = 1 if side == 1 else int(side * spec.cutout + 0.5)
        center = (u[..., 9 + i] * (side + 1 - length % 2)).floor()
        start = (center - length // 2).unsqueeze(-1)
        pixels = torch.arange(side, dtype=u.dtype)
        cut.append((pixels >= start) & (pixels < start + length))
    inside = cut[0].unsqueeze(-1) & cut[1].unsqueeze(-2)
    return (~(inside & on[..., None, None])).to(u.dtype).unsqueeze(2)
