"""Samplers: which real samples meet which synthetic ones, in constant shapes.

Letters: G groups, N synthetic samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_count
from condensed_data.methods.base import PairIndices, Sampler, SamplerState, SyntheticData
from condensed_data.methods.samplers.clustering import BatchSelection, BatchSelector
from condensed_data.training.context import Context


@dataclass(frozen=True)
class PerGroup(Sampler):
    """Per group (class, or class and attribute): random real samples against its synthetic samples.

    Args:
        batch: real samples a group and step, drawn without replacement; all of a smaller group, as the
            authors do.
        synthetic: at most this many synthetic samples a group and step, drawn at random; None for all.
        within: a finer choice of the real samples of a group, such as `Clusters(k=20)`; None for any of them.
        grouped: refuse a source whose classes have no groups.

    Raises:
        ValueError: unless both numbers are positive integers; when the run starts, for a source without groups where
            they are asked for.
    """

    batch: int | DataDefault = 256
    synthetic: int | None = None
    within: BatchSelection | None = None
    grouped: bool = False

    def __post_init__(self) -> None:
        check_count("PerGroup", "batch", self.batch)
        if self.synthetic is not None:
            check_count("PerGroup", "synthetic", self.synthetic)
        if self.within is not None and not isinstance(self.within, BatchSelection):
            raise ValueError(
                f"PerGroup(within={self.within!r}) must be None, Clusters(...) or NearestToCentroids(...)."
            )

    def start(self, context: Context, synthetic_data: SyntheticData) -> SamplerState:
        if self.grouped and context.real.num_groups == context.real.num_classes:
            raise ValueError(
                "This recipe is debiased by groups, and no class has more than one. Give groups=..., an attribute of "
                "every sample (its color, say), or use the base recipe by itself."
            )
        counts = synthetic_data.groups.bincount(minlength=context.real.num_groups).tolist()
        stored = torch.arange(len(synthetic_data.groups)).split(counts)
        selector = None if self.within is None else self.within.start(context)
        batch, real = require_resolved(self.batch), context.real.members
        return _PerGroupState(batch, self.synthetic, real, stored, context.rng, selector)


@dataclass
class _PerGroupState(SamplerState):
    batch: int
    at_most: int | None
    members: tuple[Tensor, ...]
    stored: tuple[Tensor, ...]
    rng: RandomStreams
    selector: BatchSelector | None
    ahead: ClassVar[bool] = True

    def draw(self, iteration: int, groups: Sequence[int]) -> PairIndices:
        real = [self._real(iteration, group) for group in groups]
        synthetic = [self._synthetic(iteration, group) for group in groups]
        return PairIndices(
            torch.cat(real),
            tuple(len(rows) for rows in real),
            torch.cat(synthetic),
            tuple(len(rows) for rows in synthetic),
        )

    def _real(self, iteration: int, group: int) -> Tensor:
        if self.selector is not None:
            return self.selector.select(iteration, group, self.batch)
        pool = self.members[group]
        return pool[self.rng.choice("real", iteration, group, len(pool), min(len(pool), self.batch))]

    def _synthetic(self, iteration: int, group: int) -> Tensor:
        rows = self.stored[group]
        if self.at_most is None or len(rows) <= self.at_most:
            return rows
        return rows[self.rng.choice("synthetic", iteration, group, len(rows), self.at_most)]
