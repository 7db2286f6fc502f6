"""Augmentations: one random draw, applied identically to real and synthetic samples.

`SiameseAugment` is differentiable siamese augmentation (DSA): Zhao and Bilen, ICML 2021,
https://arxiv.org/abs/2102.08259. One of six operations is drawn per class and step; see `augment_ops` for the
operations. Letters: G blocks, B rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, DatasetInfo, Spec
from condensed_data.data.augment_ops import NUM_UNIFORMS, OPERATIONS, Parameters, Strengths

_DIGIT_WORDS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}

AugmentFn = Callable[[Batch], Tensor]


class Augment(Spec, ABC):
    """Specification of an augmentation; one draw applies to any number of batches of any size."""

    @abstractmethod
    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        """Draw the parameters for one step.

        Args:
            rng: the run's random draws.
            iteration: of the run; it names the draw.
            blocks: number of each block of the batches; each block has a draw of its own.
            sample_shape: of one sample.

        Returns:
            A function from a batch with these blocks to its augmented rows (B, *sample).
        """


@dataclass(frozen=True)
class Identity(Augment):
    """No augmentation."""

    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        return _Unchanged()


@dataclass(frozen=True)
class SiameseAugment(Augment):
    """DSA: one of `ops` is drawn per block and step, with one set of parameters for all rows of the block.

    Args:
        ops: operations to draw from, a subset of `OPERATIONS`; or a `DataDefault`. Empty for no augmentation.
        always: operations applied in addition to the drawn one.
        per_sample: draw parameters for each row (the operation is still drawn per block), as in the standard
            evaluation; real and synthetic rows then differ.
        flip: probability of a horizontal flip if "flip" is drawn.
        scale: horizontal and vertical factors are drawn from [1/scale, scale].
        rotate: the angle in degrees is drawn from [-rotate, rotate].
        crop: largest translation, as a fraction of the side; whole pixels.
        cutout: side of the erased square, as a fraction of the side.
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
                raise ValueError(f"SiameseAugment({name}={getattr(self, name)!r}) must be a fraction in [0, 1].")
        if self.scale < 1:
            raise ValueError(f"SiameseAugment(scale={self.scale}) must be at least 1.")

    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        if not isinstance(self.ops, tuple):
            raise TypeError(f"SiameseAugment(ops={self.ops}) depends on the dataset: resolve the recipe first.")
        if len(sample_shape) == 1 or not (self.ops or self.always):
            return _Unchanged()
        return _SiameseDraw(self, rng, iteration, tuple(blocks), sample_shape)

    def strengths(self) -> Strengths:
        """The strengths of all operations."""
        return Strengths(**{item.name: getattr(self, item.name) for item in fields(Strengths)})

    def active(self, rng: RandomStreams, iteration: int, blocks: Sequence[int]) -> Tensor:
        """(G, 6) bool: the operations that apply to each block."""
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
        raise ValueError(f"SiameseAugment({name}={ops!r}) must be a tuple, such as ({OPERATIONS[0]!r},).")
    for op in ops:
        if op not in OPERATIONS:
            raise ValueError(f"SiameseAugment({name}=...) contains {op!r}; known operations: {', '.join(OPERATIONS)}.")


class _Unchanged:
    """Returns the rows as they are."""

    def __call__(self, batch: Batch) -> Tensor:
        return batch.x


class _SiameseDraw:
    """One draw of `SiameseAugment`. Real and synthetic batches share its parameters, which are made and copied once."""

    def __init__(
        self,
        spec: SiameseAugment,
        rng: RandomStreams,
        iteration: int,
        blocks: tuple[int, ...],
        sample_shape: tuple[int, ...],
    ) -> None:
        self.spec, self.rng, self.iteration, self.blocks = spec, rng, iteration, blocks
        self.active = spec.active(rng, iteration, blocks)
        self.is_signal = len(sample_shape) == 2
        self.size = (1, sample_shape[1]) if self.is_signal else (sample_shape[1], sample_shape[2])
        self.on_cpu: dict[int, Parameters] = {}
        self.on_device: dict[tuple[int, torch.device, torch.dtype], Parameters] = {}

    def __call__(self, batch: Batch) -> Tensor:
        image = batch.x.unsqueeze(2) if self.is_signal else batch.x
        rows = max(batch.sizes) if self.spec.per_sample else 1
        key = rows, image.device, image.dtype
        if key not in self.on_device:
            self.on_device[key] = self._parameters(rows).to(image.device, image.dtype)
        return self.on_device[key](image, batch.sizes).view_as(batch.x)

    def _parameters(self, rows: int) -> Parameters:
        """Parameters for this many rows of each block."""
        if rows not in self.on_cpu:
            u = self.rng.uniform("augment", self.iteration, self.blocks, rows * NUM_UNIFORMS)
            u = u.view(len(self.blocks), rows, NUM_UNIFORMS)
            self.on_cpu[rows] = Parameters.make(self.spec.strengths(), u, self.active, self.size)
        return self.on_cpu[rows]


@dataclass(frozen=True)
class DefaultDSAOps(DataDefault):
    """The operations that the authors use: all of them, without flip for digits.

    Digits are recognized by class names that begin with a digit or its English word. If the source has no class
    names, flip is left out: a wrong flip costs far more than a missing one. Signals are never flipped or rotated,
    and vectors are not augmented.
    """

    ops: tuple[str, ...] = field(default=OPERATIONS)

    def __call__(self, info: DatasetInfo) -> tuple[str, ...]:
        if len(info.sample_shape) == 1:
            return ()
        if len(info.sample_shape) == 2:
            return tuple(op for op in self.ops if op not in ("flip", "rotate"))
        digits = names_digits(info.classes)
        return tuple(op for op in self.ops if op != "flip" or (info.named and not digits))


def names_digits(classes: Sequence[str]) -> bool:
    """Whether every class name begins with a digit or its English word."""
    words = [name.replace("-", " ").split() for name in classes]
    return all(word and (word[0].isdigit() or word[0].lower() in _DIGIT_WORDS) for word in words)
