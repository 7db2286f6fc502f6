"""Each group by itself: its synthetic samples, and random real samples to compare them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_count
from condensed_data.methods.base import PairIndices, Sampler, SamplerState, SyntheticData
from condensed_data.methods.samplers.clustering import BatchSelection, BatchSelector
from condensed_data.training.context import Context


@dataclass(frozen=True)
class PerGroup(Sampler):
    """Per group (class, or class and attribute): random real samples and its synthetic samples.

    Args:
        batch: real samples per group and step, drawn without replacement; all of a smaller group, as the authors do.
        synthetic: at most this many random synthetic samples per group and step; None for all.
        within: selects the real samples of a group, such as `Clusters(k=20)`; None draws from all of them.
        grouped: require a source with groups.

    Raises:
        ValueError: when the run starts, if `grouped` and the source has no groups.
    """

    batch: int | DataDefault = 256
    synthetic: int | None = None
    within: BatchSelection | None = None
    grouped: bool = False

    def __post_init__(self) -> None:
        check_count("PerGroup", "batch", self.batch, or_default=True)
        check_count("PerGroup", "synthetic", self.synthetic, optional=True)

    def start(self, context: Context, synthetic_data: SyntheticData) -> SamplerState:
        if self.grouped and context.real.num_groups == context.real.num_classes:
            raise ValueError(
                "This recipe removes a bias between groups, but no class has more than one group. Give groups=..., an "
                "attribute of every sample (such as its color), or use the base recipe directly."
            )
        selector = None if self.within is None else self.within.start(context)
        return _PerGroupState(self, context, _members(context, synthetic_data), selector)


@dataclass
class _PerGroupState(SamplerState):
    spec: PerGroup
    context: Context
    synthetic_members: tuple[Tensor, ...]
    selector: BatchSelector | None
    can_prefetch: ClassVar[bool] = True

    def draw(self, iteration: int, groups: Sequence[int]) -> PairIndices:
        real = [self._real(iteration, group) for group in groups]
        synthetic = [self._synthetic(iteration, group) for group in groups]
        return PairIndices(torch.cat(real), tuple(map(len, real)), torch.cat(synthetic), tuple(map(len, synthetic)))

    def _real(self, iteration: int, group: int) -> Tensor:
        batch = require_resolved(self.spec.batch)
        if self.selector is not None:
            return self.selector.select(iteration, group, batch)
        members = self.context.real.members[group]
        return members[self.context.rng.choice("real", iteration, group, len(members), min(len(members), batch))]

    def _synthetic(self, iteration: int, group: int) -> Tensor:
        return _drawn(self.context, iteration, group, self.synthetic_members[group], self.spec.synthetic)


@dataclass(frozen=True)
class SyntheticPerGroup(Sampler):
    """Per group its synthetic samples and no real ones, for objectives that compare nothing, such as `CrossEntropy`.

    Args:
        most: at most this many random synthetic samples per group and step; None for all. A `PerGroup` with an equal
            `synthetic` draws the same ones in an iteration.
    """

    most: int | None = None

    def __post_init__(self) -> None:
        check_count("SyntheticPerGroup", "most", self.most, optional=True)

    def start(self, context: Context, synthetic_data: SyntheticData) -> SamplerState:
        return _SyntheticPerGroupState(self, context, _members(context, synthetic_data))


@dataclass
class _SyntheticPerGroupState(SamplerState):
    spec: SyntheticPerGroup
    context: Context
    members: tuple[Tensor, ...]

    def draw(self, iteration: int, groups: Sequence[int]) -> PairIndices:
        rows = [_drawn(self.context, iteration, group, self.members[group], self.spec.most) for group in groups]
        none = torch.empty(0, dtype=torch.long)
        return PairIndices(none, (0,) * len(rows), torch.cat(rows), tuple(map(len, rows)))


def _members(context: Context, synthetic_data: SyntheticData) -> tuple[Tensor, ...]:
    """The indices of the synthetic samples of every group."""
    counts = synthetic_data.groups.bincount(minlength=context.real.num_groups).tolist()
    return torch.arange(len(synthetic_data.groups)).split(counts)


def _drawn(context: Context, iteration: int, group: int, members: Tensor, most: int | None) -> Tensor:
    """At most this many of a group's synthetic samples."""
    if most is None or len(members) <= most:
        return members
    return members[context.rng.choice("synthetic", iteration, group, len(members), most)]
