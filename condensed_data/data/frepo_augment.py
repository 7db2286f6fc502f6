"""The augmentation of FRePo's evaluation: one operation for a batch, with parameters for every sample.

Zhou, Nezhadarya and Ba, NeurIPS 2022, https://arxiv.org/abs/2206.00719, and the authors' `get_aug_by_name`. Unlike
DSA's, its geometric operations repeat the border pixels, it translates by fractions of pixels, zooms both sides alike
and anywhere, and its colors change less. Letters: B rows, C channels, H, W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.batch import Batch
from condensed_data.core.device import to_device
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, DatasetInfo, require_resolved
from condensed_data.core.validation import require
from condensed_data.data.augment import Augment, AugmentFn, DefaultDSAOps, unchanged
from condensed_data.data.augment_ops import Parameters

OPERATIONS = ("flip", "color", "crop", "rotate", "translate", "cutout")
NUM_UNIFORMS = 3  # of a row
COLOR = 0.25  # brightness is added from [-COLOR, COLOR]; factors are log-uniform in [exp(-COLOR), exp(COLOR)]
ZOOM = 1.25  # log-uniform in [1 / ZOOM, ZOOM]
DEGREES = 15.0
TRANSLATION = 0.125  # of the side


@dataclass(frozen=True)
class FRePoOps(DataDefault):
    """All operations, but no flips of grayscale images (MNIST, Fashion-MNIST) and of characters."""

    def __call__(self, info: DatasetInfo) -> tuple[str, ...]:
        flips = len(info.sample_shape) == 3 and info.sample_shape[0] > 1 and "flip" in DefaultDSAOps()(info)
        return OPERATIONS if flips else OPERATIONS[1:]


@dataclass(frozen=True)
class FRePoAugment(Augment):
    """One of `ops`, drawn for every block. Only images are augmented.

    Args:
        ops: operations to draw from, a subset of `OPERATIONS`; or a `DataDefault`.

    Raises:
        ValueError: for an unknown operation.
    """

    ops: tuple[str, ...] | DataDefault = field(default=FRePoOps())

    def __post_init__(self) -> None:
        if not isinstance(self.ops, DataDefault):
            known = bool(self.ops) and all(op in OPERATIONS for op in self.ops)
            require(known, "FRePoAugment", "ops", self.ops, f"a tuple of these operations: {', '.join(OPERATIONS)}")

    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        if len(sample_shape) != 3:
            return unchanged
        ops = require_resolved(self.ops)
        drawn = [ops[int(number * len(ops))] for number in rng.uniform("augment op", iteration, blocks, 1)[:, 0]]

        def augment(batch: Batch) -> Tensor:
            rows = max(batch.sizes)
            u = rng.uniform("augment", iteration, blocks, rows * NUM_UNIFORMS).view(-1, rows, NUM_UNIFORMS)
            parts = zip(drawn, batch.split(batch.x), u, strict=True)
            return torch.cat([_FUNCTIONS[op](x, own[: len(x)]) for op, x, own in parts])

        return augment


def _flip(x: Tensor, u: Tensor) -> Tensor:
    mirrored = to_device(u[:, 0] < 0.5, x.device)
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def _color(x: Tensor, u: Tensor) -> Tensor:
    spread = (2 * u - 1) * COLOR
    changes = torch.cat([spread[:, :1], spread[:, 1:].exp()], 1)[None]
    return Parameters(changes, None, None).to(x.device, x.dtype)(x, (len(x),))


def _crop(x: Tensor, u: Tensor) -> Tensor:
    zoom = ((2 * u[:, 0] - 1) * math.log(ZOOM)).exp()
    shift = (2 * u[:, 1:] - 1) * ((zoom - 1).abs() / zoom)[:, None]  # up to where the crop touches the border
    zero = torch.zeros_like(zoom)
    return _resample(x, [1 / zoom, zero, shift[:, 0], zero, 1 / zoom, shift[:, 1]])


def _rotate(x: Tensor, u: Tensor) -> Tensor:
    angle = (2 * u[:, 0] - 1) * math.radians(DEGREES)
    (height, width), zero = x.shape[2:], torch.zeros_like(angle)
    sin, cos = angle.sin(), angle.cos()
    return _resample(x, [cos, -sin * height / width, zero, sin * width / height, cos, zero])


def _translate(x: Tensor, u: Tensor) -> Tensor:
    shift = (2 * u[:, :2] - 1) * 2 * TRANSLATION
    one, zero = torch.ones(len(x)), torch.zeros(len(x))
    return _resample(x, [one, zero, shift[:, 0], zero, one, shift[:, 1]])


def _resample(x: Tensor, rows: list[Tensor]) -> Tensor:
    """Pixels from where the affine maps of six entries (B,) lead, in normalized coordinates; borders are repeated."""
    theta = to_device(torch.stack(rows, -1).unflatten(-1, (2, 3)), x.device, x.dtype)
    grid = F.affine_grid(theta, [len(x), 1, *x.shape[2:]], align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _cutout(x: Tensor, u: Tensor) -> Tensor:
    """0 in a rectangle of a quarter of each side, inside the image."""
    inside = []
    for i, side in enumerate(x.shape[2:]):
        start = (u[:, i, None] * (side - side // 4 + 1)).floor()
        pixels = torch.arange(side)
        inside.append((pixels >= start) & (pixels < start + side // 4))
    mask = ~(inside[0][:, :, None] & inside[1][:, None])
    return x * to_device(mask[:, None], x.device, x.dtype)


_FUNCTIONS = {
    "flip": _flip,
    "color": _color,
    "crop": _crop,
    "rotate": _rotate,
    "translate": _translate,
    "cutout": _cutout,
}
