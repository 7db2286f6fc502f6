"""Samplers: which real samples meet which synthetic ones, in constant shapes.

Letters: G groups, N synthetic samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.core.rng import Streams
from condensed_data.core.spec import Rule, concrete
from condensed_data.methods.base import Context, Draw, Drawer, Sampler, Synthesis
from condensed_data.methods.samplers.clustering import Chooser, Within
from condensed_data.training.sgd import check_count


@dataclass(frozen=True)
class ByGroup(Sampler):
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

    batch: int | Rule = 256
    synthetic: int | None = None
    within: Within | None = None
    grouped: bool = False

    def __post_init__(self) -> None:
        check_count("ByGroup", "batch", self.batch)
        if self.synthetic is not None:
            check_count("ByGroup", "synthetic", self.synthetic)
        if self.within is not None and not isinstance(self.within, Within):
            raise ValueError(f"ByGroup(within={self.within!r}) must be None, Clusters(...) or Nearest(...).")

    def start(self, context: Context, synthesis: Synthesis) -> Drawer:
        if self.grouped and context.real.num_groups == context.real.num_classes:
            raise ValueError(
                "This recipe is debiased by groups, and no class has more than one. Give groups=..., an attribute of "
                "every sample (its color, say), or use the base recipe by itself."
            )
        counts = synthesis.groups.bincount(minlength=context.real.num_groups).tolist()
        stored = torch.arange(len(synthesis.groups)).split(counts)
        chooser = None if self.within is None else self.within.start(context)
        batch, real = concrete(self.batch), context.real.members
        return _GroupDrawer(batch, self.synthetic, real, stored, context.streams, chooser)


@dataclass
class _GroupDrawer(Drawer):
    batch: int
    at_most: int | None
    members: tuple[Tensor, ...]
    stored: tuple[Tensor, ...]
    streams: Streams
    chooser: Chooser | None
    ahead: ClassVar[bool] = True

    def draw(self, iteration: int, groups: Sequence[int]) -> Draw:
        real = [self._real(iteration, group) for group in groups]
        synthetic = [self._synthetic(iteration, group) for group in groups]
        return Draw(
            torch.cat(real),
            tuple(len(rows) for rows in real),
            torch.cat(synthetic),
            tuple(len(rows) for rows in synthetic),
        )

    def _real(self, iteration: int, group: int) -> Tensor:
        if self.chooser is not None:
            return self.chooser.choose(iteration, group, self.batch)
        pool = self.members[group]
        return pool[self.streams.choose("real", iteration, group, len(pool), min(len(pool), self.batch))]

    def _synthetic(self, iteration: int, group: int) -> Tensor:
        rows = self.stored[group]
        if self.at_most is None or len(rows) <= self.at_most:
            return rows
        return rows[self.streams.choose("synthetic", iteration, group, len(rows), self.at_most)]
