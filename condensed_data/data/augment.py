"""Augmentations: one random draw, applied identically to real and synthetic samples.

`SiameseAugment` is differentiable siamese augmentation (DSA): Zhao and Bilen, ICML 2021,
https://arxiv.org/abs/2102.08259. One of six operations is drawn per class and step; see `augment_ops` for the
operations. Letters: G blocks, B rows.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.annotations import NonNegative
from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, DatasetInfo, Spec, require_resolved
from condensed_data.core.validation import require
from condensed_data.data.augment_ops import NUM_UNIFORMS, OPERATIONS, Parameters, Strengths

_DIGIT_WORDS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
# kana in Latin letters, such as "ki" and "tsu", and code points, such as "U+304A"
_CHARACTER = re.compile(r"[kgsztdnhbpmyrwjf]?[hsy]?[aiueo]|chi|n|U\+[0-9A-F]{4,6}")
_SINGLE = re.compile(r"\w(?=[\s(:_-]|$)")

AugmentFn = Callable[[Batch], Tensor]


class Augment(Spec, ABC):
    """Specification of an augmentation; one draw applies to any number of batches of any size."""

    @abstractmethod
    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        """Draw the parameters for one iteration, which names the draw; each block, given by its number, has its own.

        Returns:
            A function from a batch with these blocks to its augmented rows (B, *sample).
        """


@dataclass(frozen=True)
class Identity(Augment):
    """No augmentation."""

    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        return unchanged


@dataclass(frozen=True)
class SiameseAugment(Augment):
    """DSA: one of `ops` is drawn per block and step, with one set of parameters for all rows of the block.

    Args:
        ops: operations to draw from, a subset of `OPERATIONS`; or a `DataDefault`. Empty for no augmentation.
        always: operations applied in addition to the drawn one; or a `DataDefault`.
        per_sample: draw parameters for each row (the operation is still drawn per block), as in the standard
            evaluation; real and synthetic rows then differ.
        flip: probability of a horizontal flip if "flip" applies.
        scale: horizontal and vertical factors are drawn from [1/scale, scale].
        rotate: the angle in degrees is drawn from [-rotate, rotate].
        crop: largest translation, as a fraction of the side; whole pixels.
        cutout: side of the erased square, as a fraction of the side.
        brightness, saturation, contrast: strengths as in the authors' code.

    Raises:
        ValueError: for an unknown operation or a strength out of range.
    """

    ops: tuple[str, ...] | DataDefault = OPERATIONS
    always: tuple[str, ...] | DataDefault = ()
    per_sample: bool = False
    flip: float = 0.5
    scale: float = 1.2
    rotate: NonNegative = 15.0
    crop: float = 0.125
    cutout: float = 0.5
    brightness: NonNegative = 1.0
    saturation: NonNegative = 2.0
    contrast: NonNegative = 0.5

    def __post_init__(self) -> None:
        for name, ops in (("ops", self.ops), ("always", self.always)):
            _check_ops(name, ops)
        for name in ("flip", "crop", "cutout"):
            value = getattr(self, name)
            require(0 <= value <= 1, "SiameseAugment", name, value, "a fraction in [0, 1]")
        require(self.scale >= 1, "SiameseAugment", "scale", self.scale, "at least 1")

    def draw(
        self, rng: RandomStreams, iteration: int, blocks: Sequence[int], sample_shape: tuple[int, ...]
    ) -> AugmentFn:
        for name, names in (("ops", self.ops), ("always", self.always)):
            if isinstance(names, DataDefault):
                raise TypeError(f"SiameseAugment({name}={names}) depends on the dataset: resolve the recipe first.")
        if len(sample_shape) == 1 or not (self.ops or self.always):
            return unchanged
        return _SiameseDraw(self, rng, iteration, tuple(blocks), sample_shape)

    def active(self, rng: RandomStreams, iteration: int, blocks: Sequence[int]) -> Tensor:
        """(G, 6) bool: the operations that apply to each block."""
        names = self.ops if isinstance(self.ops, tuple) else ()
        active = torch.zeros(len(blocks), len(OPERATIONS), dtype=torch.bool)
        if names:
            u = rng.uniform("augment op", iteration, blocks, 1)[:, 0]
            chosen = torch.tensor([OPERATIONS.index(name) for name in names])[(u * len(names)).long()]
            active[torch.arange(len(blocks)), chosen] = True
        active[:, [OPERATIONS.index(name) for name in require_resolved(self.always)]] = True
        return active


def _check_ops(name: str, ops: Any) -> None:
    if not isinstance(ops, DataDefault):
        require(isinstance(ops, tuple), "SiameseAugment", name, ops, f"a tuple, such as ({OPERATIONS[0]!r},)")
        known = all(op in OPERATIONS for op in ops)
        require(known, "SiameseAugment", name, ops, f"a tuple of these operations: {', '.join(OPERATIONS)}")


def unchanged(batch: Batch) -> Tensor:
    """The rows of a batch as they are."""
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
        self.parameters: dict[tuple[int, torch.device, torch.dtype], Parameters] = {}

    def __call__(self, batch: Batch) -> Tensor:
        image = batch.x.unsqueeze(2) if self.is_signal else batch.x
        rows = max(batch.sizes) if self.spec.per_sample else 1
        key = rows, image.device, image.dtype
        if key not in self.parameters:
            u = self.rng.uniform("augment", self.iteration, self.blocks, rows * NUM_UNIFORMS)
            u = u.view(len(self.blocks), rows, NUM_UNIFORMS)
            strengths = Strengths(**{item.name: getattr(self.spec, item.name) for item in fields(Strengths)})
            made = Parameters.make(strengths, u, self.active, self.size)
            self.parameters[key] = made.to(image.device, image.dtype)
        return self.parameters[key](image, batch.sizes).view_as(batch.x)


@dataclass(frozen=True)
class DefaultDSAOps(DataDefault):
    """The operations that the authors use: all of them, without flip for digits.

    Other characters count as digits. They are recognized by their names, see `names_characters`. If the source has no
    class names, flip is left out: a wrong flip costs far more than a missing one. Signals are never flipped or rotated,
    and vectors are not augmented.
    """

    ops: tuple[str, ...] = OPERATIONS

    def __call__(self, info: DatasetInfo) -> tuple[str, ...]:
        if len(info.sample_shape) == 1:
            return ()
        if len(info.sample_shape) == 2:
            return tuple(op for op in self.ops if op not in ("flip", "rotate"))
        characters = names_characters(info.classes)
        return tuple(op for op in self.ops if op != "flip" or (info.named and not characters))


def names_characters(classes: Sequence[str]) -> bool:
    """Whether the classes are digits, or all names begin with a single character, or are kana as KMNIST writes them."""
    names = [unicodedata.normalize("NFC", name.strip()) for name in classes]
    return names_digits(classes) or all(_SINGLE.match(name) or _CHARACTER.fullmatch(name) for name in names)


def names_digits(classes: Sequence[str]) -> bool:
    """Whether every class name begins with a digit or its English word."""
    words = [name.replace("-", " ").split() for name in classes]
    return all(word and (word[0].isdigit() or word[0].lower() in _DIGIT_WORDS) for word in words)
