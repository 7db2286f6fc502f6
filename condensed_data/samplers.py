"""Samplers: which real samples meet which synthetic ones, in constant shapes.

Letters: G groups, N synthetic samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.clusters import Chooser, Within
from condensed_data.parts import Context, Draw, Drawer, Sampler, Synthesis
from condensed_data.streams import Streams


@dataclass(frozen=True)
class ByGroup(Sampler):
    """Per group (class, or class and attribute): random real samples against its synthetic samples.

    Args:
        batch: real samples a group and step, drawn without replacement; all of a smaller group, as the
            authors do.
        synthetic: at most this many synthetic samples a group and step, drawn at random; None for all.
        within: a finer choice of the real samples of a group, such as `Clusters(k=20)`; None for any of them.

    Raises:
        ValueError: unless both numbers are positive integers.
    """

    batch: int = 256
    synthetic: int | None = None
    within: Within | None = None

    def __post_init__(self) -> None:
        _check_count("batch", self.batch)
        if self.synthetic is not None:
            _check_count("synthetic", self.synthetic)
        if self.within is not None and not isinstance(self.within, Within):
            raise ValueError(f"ByGroup(within={self.within!r}) must be None, Clusters(...) or Nearest(...).")

    def start(self, context: Context, synthesis: Synthesis) -> Drawer:
        counts = synthesis.groups.bincount(minlength=context.real.num_groups).tolist()
        stored = torch.arange(len(synthesis.groups)).split(counts)
        chooser = None if self.within is None else self.within.start(context)
        return _GroupDrawer(self, context.real.members, stored, context.streams, chooser)


def _check_count(name: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"ByGroup({name}={count!r}) must be an integer of at least 1.")


@dataclass
class _GroupDrawer(Drawer):
    spec: ByGroup
    members: tuple[Tensor, ...]
    stored: tuple[Tensor, ...]
    streams: Streams
    chooser: Chooser | None
    ahead: ClassVar[bool] = True

    def draw(self, sweep: int, groups: Sequence[int]) -> Draw:
        real = [self._real(sweep, group) for group in groups]
        synthetic = [self._synthetic(sweep, group) for group in groups]
        return Draw(
            torch.cat(real),
            tuple(len(rows) for rows in real),
            torch.cat(synthetic),
            tuple(len(rows) for rows in synthetic),
        )

    def _real(self, sweep: int, group: int) -> Tensor:
        if self.chooser is not None:
            return self.chooser.choose(sweep, group, self.spec.batch)
        pool = self.members[group]
        return pool[self.streams.choose("real", sweep, group, len(pool), min(len(pool), self.spec.batch))]

    def _synthetic(self, sweep: int, group: int) -> Tensor:
        rows = self.stored[group]
        if self.spec.synthetic is None or len(rows) <= self.spec.synthetic:
            return rows
        return rows[self.streams.choose("synthetic", sweep, group, len(rows), self.spec.synthetic)]
