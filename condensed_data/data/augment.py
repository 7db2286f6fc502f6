"""Augmentations: one random draw, applied identically to the real and the synthetic side.

Differentiable siamese augmentation (DSA): Zhao and Bilen, ICML 2021, https://arxiv.org/abs/2102.08259. One
of six operations is drawn per class and step. All operations act on standardized samples and fill with zero,
the mean of the data. The six are written as one path (color, one resampling, one mask) whose parameters are
neutral where an operation is not drawn, so that every step has the same shape.

Deviations: rotation respects the aspect ratio of non-square images; resampling uses `align_corners=False`
(the authors' torch 1.2 had True). Signals (C, L) are images of height one: translation, scaling and cut-out
act along the signal, `flip` and `rotate` leave it as it is.

Letters: G blocks, R rows of a block with parameters of their own, B rows, C channels, H, W.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.batch import Batch, repeat_per_block
from condensed_data.core.device import to_device
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, DatasetInfo, Spec

OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DRAWS = 11  # uniform numbers for the parameters of all operations
_DIGIT_WORDS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}

AugmentFn = Callable[[Batch], Tensor]


class Augment(Spec, ABC):
    """Specification of an augmentation: one random draw, applied to any number of batches of any size."""

    @abstractmethod
    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        """A function from a batch with these blocks to its augmented rows (B, *sample)."""


@dataclass(frozen=True)
class Identity(Augment):
    """No augmentation."""

    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        return _Unchanged()


@dataclass(frozen=True)
class SiameseAugment(Augment):
    """DSA: of `ops`, one is drawn per block and step, with one set of parameters for all its rows.

    Args:
        ops: operations to draw from, a subset of `OPERATIONS`, or a rule. Empty for no augmentation.
        always: operations applied on top of the drawn one.
        per_sample: parameters for every row of its own (the operation is still drawn per block), as in the
            standard evaluation; the real and the synthetic side then differ.
        flip: probability of a horizontal flip where flip is drawn.
        scale: horizontal and vertical factors are drawn from [1/scale, scale].
        rotate: angle in degrees is drawn from [-rotate, rotate].
        crop: translation of at most this fraction of the side, in whole pixels.
        cutout: side of the erased square as a fraction of the side.
        brightness, saturation, contrast: strengths as in the authors' code.

    Raises:
        ValueError: for an unknown operation or a strength out of range.
    """

    ops: tuple[str, ...] | DataDefault = OPERATIONS
    always: tuple[str, ...] = ()
    per_sample: bool = False
    flip: float = 0.5
    scale: float = 1.2
    rotate: float = 15.0
    crop: float = 0.125
    cutout: float = 0.5
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5

    def __post_init__(self) -> None:
        for name, ops in (("ops", self.ops), ("always", self.always)):
            _check_ops(name, ops)
        for name in ("flip", "crop", "cutout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"SiameseAugment({name}={getattr(self, name)!r}) must be a fraction in [0, 1]."
                )
        if self.scale < 1:
            raise ValueError(f"SiameseAugment(scale={self.scale}) must be at least 1.")

    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        if not isinstance(self.ops, tuple):
            raise TypeError(f"SiameseAugment(ops={self.ops}) is a rule: resolve the recipe first.")
        if len(sample_shape) == 1 or not (self.ops or self.always):
            return _Unchanged()
        return _Drawn(self, rng, iteration, tuple(blocks), self._active(rng, iteration, blocks), sample_shape)

    def _active(self, rng: RandomStreams, iteration: int, blocks: Sequence[int]) -> Tensor:
        """(G, 6) bool: which operations act on which block."""
        names = self.ops if isinstance(self.ops, tuple) else ()
        active = torch.zeros(len(blocks), len(OPERATIONS), dtype=torch.bool)
        if names:
            u = rng.uniform("augment op", iteration, blocks, 1)[:, 0]
            chosen = torch.tensor([OPERATIONS.index(name) for name in names])[(u * len(names)).long()]
            active[torch.arange(len(blocks)), chosen] = True
        active[:, [OPERATIONS.index(name) for name in self.always]] = True
        return active


def _check_ops(name: str, ops: Any) -> None:
    if isinstance(ops, DataDefault):
        return
    if not isinstance(ops, tuple):
        raise ValueError(
            f"SiameseAugment({name}={ops!r}) must be a tuple, for instance ({OPERATIONS[0]!r},)."
        )
    for op in ops:
        if op not in OPERATIONS:
            raise ValueError(
                f"SiameseAugment({name}=...) holds {op!r}; known operations: {', '.join(OPERATIONS)}."
            )


class _Unchanged:
    """No augmentation, applied."""

    def __call__(self, batch: Batch) -> Tensor:
        return batch.x


class _Drawn:
    """A draw of `SiameseAugment`: both sides of a pair share its numbers, which are made and sent once."""

    def __init__(
        self,
        spec: SiameseAugment,
        rng: RandomStreams,
        iteration: int,
        blocks: tuple[int, ...],
        active: Tensor,
        sample_shape: tuple[int, ...],
    ) -> None:
        self.spec, self.rng, self.iteration, self.blocks, self.active = (
            spec,
            rng,
            iteration,
            blocks,
            active,
        )
        self.is_signal = len(sample_shape) == 2
        self.size = (1, sample_shape[1]) if self.is_signal else (sample_shape[1], sample_shape[2])
        self.made: dict[int, Parameters] = {}
        self.there: dict[tuple[int, torch.device, torch.dtype], Parameters] = {}

    def __call__(self, batch: Batch) -> Tensor:
        image = batch.x.unsqueeze(2) if self.is_signal else batch.x
        key = self._rows(batch.sizes), image.device, image.dtype
        if key not in self.there:
            self.there[key] = self._made(batch.sizes).to(image.device, image.dtype)
        return self.there[key](image, batch.sizes).view_as(batch.x)

    def _rows(self, sizes: Sequence[int]) -> int:
        """Rows of a block that have parameters of their own."""
        return max(sizes) if self.spec.per_sample else 1

    def _made(self, sizes: Sequence[int]) -> Parameters:
        rows = self._rows(sizes)
        if rows not in self.made:
            u = self.rng.uniform("augment", self.iteration, self.blocks, rows * DRAWS)
            u = u.view(len(self.blocks), rows, DRAWS)
            self.made[rows] = Parameters.make(self.spec, u, self.active, self.size)
        return self.made[rows]


@dataclass(frozen=True)
class DefaultDSAOps(DataDefault):
    """The strategy that the authors use: all operations, without flip where samples are digits.

    Digits are recognized by class names that begin with a digit or its English word. Where the source names
    no classes, flip is left out: a wrong flip costs far more than a missing one.
    """

    ops: tuple[str, ...] = field(default=OPERATIONS)

    def __call__(self, facts: DatasetInfo) -> tuple[str, ...]:
        if len(facts.sample_shape) == 1:
            return ()
        if len(facts.sample_shape) == 2:
            return tuple(op for op in self.ops if op not in ("flip", "rotate"))
        digits = names_digits(facts.classes)
        return tuple(op for op in self.ops if op != "flip" or (facts.named and not digits))


def names_digits(classes: Sequence[str]) -> bool:
    """Whether every class name begins with a digit or its English word."""
    words = [name.replace("-", " ").split() for name in classes]
    return all(word and (word[0].isdigit() or word[0].lower() in _DIGIT_WORDS) for word in words)


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
