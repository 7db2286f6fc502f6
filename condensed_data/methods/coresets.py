"""Initial samples, and coresets: noise, or a selection of real samples.

A coreset is an `Init` in a recipe that learns nothing. All of them select group by group; if a group has fewer samples
than requested, the selected ones are repeated in their order. Ties go to the first candidate.

Letters: n real samples of a group, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condensed_data.core.annotations import NonNegative
from condensed_data.core.spec import DataDefault, Spec
from condensed_data.methods.samplers.clustering import representatives
from condensed_data.networks.registry import DefaultNetwork, NetworkLike, check_network
from condensed_data.training.context import Context
from condensed_data.training.features import Extractor, FeatureExtractor, extractor
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.trained_networks import trained_networks

Features = str | Extractor | Callable[[Tensor], Tensor]
TIE = 1e-9  # relative difference below which candidates tie: rounding of sums depends on the position


class Init(Spec, ABC):
    """Specification of initial samples."""

    @abstractmethod
    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        """Standardized samples (sum(sizes), *shape): `sizes[g]` of group g, in group order."""


@dataclass(frozen=True)
class Noise(Init):
    """Standard normal noise."""

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        shape = context.real.sample_shape
        noise = context.rng.torch
        rows = [torch.randn(size, *shape, generator=noise("noise", group)) for group, size in enumerate(sizes)]
        return torch.cat(rows).to(context.device)


@dataclass(frozen=True)
class Random(Init):
    """Random real samples of each group, without replacement.

    Args:
        spread: standard deviation of the noise added to repeated samples, if a group has fewer samples than requested:
            equal samples would get equal gradients and stay equal. 0 keeps exact repeats.
    """

    spread: NonNegative = 0.1

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        def select(group: int, members: Tensor, count: int) -> Tensor:
            return context.rng.choice("init", 0, group, len(members), count)

        rows = _selected(context, sizes, select)
        for group, block in enumerate(rows.split(list(sizes))):
            distinct = len(context.real.members[group])
            if self.spread and len(block) > distinct:
                noise = torch.randn(block.shape, generator=context.rng.torch("spread", group)) * self.spread
                block[distinct:] += noise[distinct:].to(block.device)
        return rows


@dataclass(frozen=True)
class _FeatureCoreset(Init, ABC):
    """Real samples of each group that are selected by their features."""

    features: Features = "trained"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", extractor(self.features))

    @abstractmethod
    def select(self, features: Tensor, count: int, seed: int) -> Tensor:
        """Indices (count,) of rows of the features (n, D) of a group, in the order of selection."""

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        features_of = FeatureExtractor(self.features, context)

        def select(group: int, members: Tensor, count: int) -> Tensor:
            return self.select(features_of(members), count, context.rng.seed_for("coreset", group))

        return _selected(context, sizes, select)


@dataclass(frozen=True)
class Herding(_FeatureCoreset):
    """Samples whose running mean stays close to the mean of their group.

    The k-th choice is the remaining x with the smallest ||k * mean - sum of the selected - f(x)||: Welling's herding
    (ICML 2009) in the form of iCaRL (Rebuffi et al., CVPR 2017, https://arxiv.org/abs/1611.07725).

    Args:
        features: "trained" (the embedding of a network trained on the data), "raw", "imagenet", an extractor or
            any module (B, *sample) -> (B, D).
    """

    def select(self, features: Tensor, count: int, seed: int) -> Tensor:
        return herd(features, count)


@dataclass(frozen=True)
class KCenter(_FeatureCoreset):
    """Greedy k-center: each choice is the sample farthest from its nearest selected one.

    Sener and Savarese, ICLR 2018, https://arxiv.org/abs/1708.00489, algorithm 1. The first center is the sample
    nearest to the mean of its group, as in the tables of DC and DSA.

    Args:
        features: as in `Herding`.
    """

    def select(self, features: Tensor, count: int, seed: int) -> Tensor:
        return greedy_k_center(features, count)


@dataclass(frozen=True)
class KMeans(_FeatureCoreset):
    """The real samples nearest to the centroids of k-means with as many clusters as requested samples.

    With features of a trained network the strongest coreset of DC-BENCH (Cui et al., NeurIPS 2022,
    https://arxiv.org/abs/2207.09639); also the initial samples of DREAM.

    Args:
        features: as in `Herding`.
    """

    def select(self, features: Tensor, count: int, seed: int) -> Tensor:
        return representatives(features, count, seed)


@dataclass(frozen=True)
class Forgetting(Init):
    """The samples that a network forgets most often while it is trained on all of them.

    Toneva et al., ICLR 2019, https://arxiv.org/abs/1812.05159: a forgetting event is a sample that is classified
    correctly in one epoch and wrongly in the next.

    Deviation: samples that are never learned have no events; the paper ranks them first.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        pretrain: its training, 200 epochs as published; the events of several networks are summed.
    """

    network: NetworkLike | DataDefault = field(default_factory=DefaultNetwork)
    pretrain: Pretraining = field(default=Pretraining(epochs=200))

    def check(self, sample_shape: tuple[int, ...]) -> None:
        check_network(self.network, sample_shape)

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        trained = trained_networks(context, self.network, self.pretrain)
        events = torch.stack([trained[index].forgotten for index in range(len(trained))]).sum(0)

        def most_forgotten(group: int, members: Tensor, count: int) -> Tensor:
            return events[members].argsort(descending=True, stable=True)[:count]

        return _selected(context, sizes, most_forgotten)


def herd(features: Tensor, count: int) -> Tensor:
    """Herding of rows (n, D), see `Herding`: (count,) indices in the order of selection."""
    rows: Any = features.double().numpy()
    mean, squares = rows.mean(0), np.square(rows).sum(1)
    chosen, total = [], np.zeros_like(mean)
    free = np.ones(len(rows), dtype=bool)
    for k in range(1, count + 1):
        wanted = k * mean - total
        distances = squares - 2 * (rows @ wanted) + wanted @ wanted  # squared
        best = _first_smallest(distances, free, scale=float(squares.max() + wanted @ wanted))
        free[best] = False
        total += rows[best]
        chosen.append(best)
    return torch.tensor(chosen, dtype=torch.int64)


def greedy_k_center(features: Tensor, count: int) -> Tensor:
    """Greedy k-center of rows (n, D), see `KCenter`: (count,) indices in the order of selection."""
    rows: Any = features.double().numpy()
    free = np.ones(len(rows), dtype=bool)
    to_mean = np.square(rows - rows.mean(0)).sum(1)
    chosen = [_first_smallest(to_mean, free, float(to_mean.max()))]
    nearest = np.full(len(rows), np.inf)
    for _ in range(count - 1):
        free[chosen[-1]] = False
        nearest = np.minimum(nearest, np.square(rows - rows[chosen[-1]]).sum(1))
        chosen.append(_first_smallest(-nearest, free, float(nearest.max())))
    return torch.tensor(chosen[:count], dtype=torch.int64)


def _first_smallest(values: Any, free: Any, scale: float) -> int:
    """The first free index with the smallest value, up to rounding at `scale`."""
    candidates = np.where(free, values, np.inf)
    return int(np.flatnonzero(candidates <= candidates.min() + TIE * scale)[0])


def _selected(context: Context, sizes: Sequence[int], select: Callable[[int, Tensor, int], Tensor]) -> Tensor:
    """Samples selected by `select(group, members, count)`, repeated if a group has fewer than requested."""
    index = []
    for group, size in enumerate(sizes):
        members = context.real.members[group]
        order = select(group, members, min(size, len(members)))
        index.append(members[order.repeat(-(-size // len(order)))[:size]])
    return context.real[torch.cat(index)].to(context.device)
