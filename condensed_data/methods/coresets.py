"""Where synthetic samples begin, and where coresets end: samples chosen from the real ones.

A coreset is an `Init` under a recipe that learns nothing. All of them choose group by group; where a group has
fewer samples than asked for, the chosen ones are repeated in their order. Equal candidates: the first one.

Letters: N chosen samples, n real samples of a group, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from condensed_data.core.spec import DataDefault, Spec
from condensed_data.methods.samplers.clustering import representatives
from condensed_data.networks.default import DefaultNetwork, check_network
from condensed_data.training.context import Context
from condensed_data.training.features import Extractor, FeatureExtractor, extractor
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.trained_networks import trained_networks

Features = str | Extractor | Callable[[Tensor], Tensor]
TIE = 1e-9  # relative difference below which two candidates are equal: sums round differently by position


class Init(Spec, ABC):
    """Where synthetic samples begin."""

    @abstractmethod
    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        """Standardized samples, `sizes[g]` of group g, in group order: (sum(sizes), *shape)."""


@dataclass(frozen=True)
class Noise(Init):
    """Standard normal noise."""

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        shape = context.real.sample_shape
        rows = [
            torch.randn(size, *shape, generator=context.rng.torch("noise", group))
            for group, size in enumerate(sizes)
        ]
        return torch.cat(rows).to(context.device)


@dataclass(frozen=True)
class Random(Init):
    """Random real samples of each group, without replacement.

    Args:
        spread: standard deviation of the noise added to repeats, where a group has fewer samples than asked for:
            equal samples would get equal gradients and stay equal. 0 keeps exact repeats.
    """

    spread: float = 0.1

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        blocks = []
        for group, size in enumerate(sizes):
            members = context.real.members[group]
            order = context.rng.choice("init", 0, group, len(members), min(size, len(members)))
            chosen = members[order.repeat(-(-size // len(order)))[:size]]
            rows = context.real[chosen].to(context.device)
            if self.spread and size > len(members):
                noise = torch.randn(rows.shape, generator=context.rng.torch("spread", group)) * self.spread
                noise[: len(members)] = 0
                rows = rows + noise.to(rows.device)
            blocks.append(rows)
        return torch.cat(blocks)


@dataclass(frozen=True)
class Herding(Init):
    """Samples whose running mean follows the mean of their group.

    The k-th choice is the unchosen x with the smallest ||k * mean - sum of the chosen - f(x)||, the form of
    iCaRL (Rebuffi et al., CVPR 2017, https://arxiv.org/abs/1611.07725) of Welling's herding (ICML 2009).

    Args:
        features: "trained" (the embedding of a network trained on the data), "raw", "imagenet", an extractor or
            any module (B, *sample) -> (B, D).

    Raises:
        ValueError: for unknown features.
    """

    features: Features = "trained"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", extractor(self.features))

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        return _by_features(self.features, context, sizes, lambda rows, count, _: herd(rows, count))


@dataclass(frozen=True)
class KCenter(Init):
    """Greedy k-centers: each choice is the sample farthest from its nearest chosen one.

    Sener and Savarese, ICLR 2018, https://arxiv.org/abs/1708.00489, algorithm 1. The first center is the sample
    nearest to the mean of its group, as in the tables of DC and DSA.

    Args:
        features: as in `Herding`.

    Raises:
        ValueError: for unknown features.
    """

    features: Features = "trained"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", extractor(self.features))

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        return _by_features(self.features, context, sizes, lambda rows, count, _: spread_out(rows, count))


@dataclass(frozen=True)
class KMeans(Init):
    """The real samples nearest to the centroids of k-means with as many clusters as samples are asked for.

    In the space of a trained network the strongest coreset of DC-BENCH (Cui et al., NeurIPS 2022,
    https://arxiv.org/abs/2207.09639); with DREAM's sampler, where its samples begin.

    Args:
        features: as in `Herding`.

    Raises:
        ValueError: for unknown features.
    """

    features: Features = "trained"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", extractor(self.features))

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        return _by_features(self.features, context, sizes, representatives)


@dataclass(frozen=True)
class Forgetting(Init):
    """The samples that a network forgets most often while it is trained on all of them.

    Toneva et al., ICLR 2019, https://arxiv.org/abs/1812.05159: an event is a sample that is classified correctly
    when it comes in one epoch and wrongly in the next.

    Deviation: samples that are never learned count as they are, with no events; the paper ranks them first.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        pretrain: its training, 200 epochs as published; of several networks the events are added.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    pretrain: Pretraining = field(default=Pretraining(epochs=200))

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        found = trained_networks(context, self.network, self.pretrain)
        events = torch.stack([found[index].forgotten for index in range(len(found))]).sum(0)

        def most_forgotten(group: int, members: Tensor, count: int) -> Tensor:
            return events[members].argsort(descending=True, stable=True)[:count]

        return _chosen(context, sizes, most_forgotten)


def herd(features: Tensor, count: int) -> Tensor:
    """Herding of rows (n, D), see `Herding`: (count,) indices in the order of choice."""
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


def spread_out(features: Tensor, count: int) -> Tensor:
    """Greedy k-centers of rows (n, D), see `KCenter`: (count,) indices in the order of choice."""
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
    """The first free index whose value is the smallest, up to rounding at `scale`."""
    candidates = np.where(free, values, np.inf)
    return int(np.flatnonzero(candidates <= candidates.min() + TIE * scale)[0])


def _by_features(
    features: Any, context: Context, sizes: Sequence[int], choose: Callable[[Tensor, int, int], Tensor]
) -> Tensor:
    """Samples chosen by `choice(features of the group, count, seed)`."""
    look = FeatureExtractor(features, context)

    def by_features(group: int, members: Tensor, count: int) -> Tensor:
        return choose(look(members), count, context.rng.seed_for("coreset", group))

    return _chosen(context, sizes, by_features)


def _chosen(context: Context, sizes: Sequence[int], choose: Callable[[int, Tensor, int], Tensor]) -> Tensor:
    """Samples chosen by `choice(group, its members, count)`, repeated where a group is smaller than its size."""
    index = []
    for group, size in enumerate(sizes):
        members = context.real.members[group]
        order = choose(group, members, min(size, len(members)))
        index.append(members[order.repeat(-(-size // len(order)))[:size]])
    return context.real[torch.cat(index)].to(context.device)
