"""A finer choice of the real samples inside a group: batches from one cluster, or spread over all clusters.

`PerGroup(within=...)` takes one of these on any method:

* `Clusters` (batch feature matching, "BDM"): every batch holds samples of one cluster of one group, samples
  that share a feature.
* `NearestToCentroids` (DREAM): every batch holds the samples nearest to as many centroids, an even picture of the group.

Letters: n samples, k clusters, D features, G groups.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condensed_data.core.spec import Spec
from condensed_data.core.validation import check_count
from condensed_data.training.context import Context
from condensed_data.training.features import Extractor, FeatureExtractor, extractor, stage_extractor

RULES = ("uniform", "proportional")
MINI_BATCHES_FROM = 20_000  # samples a group


class BatchSelector(ABC):
    """Run state of a `BatchSelection`; it follows from the run's seed, so there is nothing to checkpoint."""

    @abstractmethod
    def select(self, iteration: int, group: int, batch: int) -> Tensor:
        """Indices of min(batch, size of the group) real samples of `group`."""


class BatchSelection(Spec, ABC):
    """Specification of which samples of a group meet its synthetic ones."""

    @abstractmethod
    def start(self, context: Context) -> BatchSelector:
        """Look at the real samples."""


@dataclass(frozen=True)
class Clusters(BatchSelection):
    """Batches from one cluster: k-means of every group's real samples; each batch is drawn from one cluster.

    A cluster smaller than the batch gives all its samples, repeated as evenly as the batch needs, so that every
    step has one shape. Groups of fewer samples than `k` have fewer clusters.

    Args:
        k: clusters of every group.
        features: "imagenet" (stage 1 of ResNet18, as the founding paper), "trained" (stage 1 of a ResNet18 trained
            on the data, or of the usual network where samples are no images), "raw", an extractor such as
            `ImageNet(layer=2)`, or any module.
        rule: "uniform" draws every cluster equally often; "proportional" as often as its size says, which keeps
            the expected batch that of the group.

    Raises:
        ValueError: for unknown features or an unknown rule, or k below 1.
    """

    k: int = 20
    features: str | Extractor | Callable[[Tensor], Tensor] = "imagenet"
    rule: str = "uniform"

    def __post_init__(self) -> None:
        check_count("Clusters", "k", self.k)
        if self.rule not in RULES:
            raise ValueError(f"Clusters(rule={self.rule!r}) is unknown; known: {', '.join(RULES)}.")
        object.__setattr__(self, "features", stage_extractor(self.features))

    def start(self, context: Context) -> BatchSelector:
        return _ClusterSelector(self.rule, context, self.partition(context))

    def partition(
        self, context: Context, groups: Sequence[int] | None = None
    ) -> tuple[tuple[Tensor, ...], ...]:
        """The clusters of every group, or of some: a tuple for each of tensors of sample indices.

        The clusters of a group do not depend on which others are asked for; together they are the group's samples.
        """
        look, found = FeatureExtractor(self.features, context), []
        for group in range(context.real.num_groups) if groups is None else groups:
            members = context.real.members[group]
            labels, _ = kmeans(look(members), self.k, context.rng.seed_for("clusters", group))
            found.append(tuple(members[labels == label] for label in labels.unique()))
        return tuple(found)


class _ClusterSelector(BatchSelector):
    def __init__(self, rule: str, context: Context, clusters: tuple[tuple[Tensor, ...], ...]) -> None:
        self.rule, self.context, self.clusters = rule, context, clusters

    def select(self, iteration: int, group: int, batch: int) -> Tensor:
        rng, clusters = self.context.rng, self.clusters[group]
        sizes = np.array([len(cluster) for cluster in clusters])
        weights = sizes / sizes.sum() if self.rule == "proportional" else None
        cluster = clusters[int(rng.numpy("cluster", iteration, group).choice(len(clusters), p=weights))]
        count = min(batch, int(sizes.sum()))
        rest = rng.choice("real", iteration, group, len(cluster), count % len(cluster))
        return torch.cat([cluster.repeat(count // len(cluster)), cluster[rest]])


@dataclass(frozen=True)
class NearestToCentroids(BatchSelection):
    """Batches spread over a group: k-means with as many clusters as the batch has rows, the nearest sample of each.

    Liu et al., DREAM: Efficient Dataset Distillation by Representative Matching, ICCV 2023,
    https://arxiv.org/abs/2302.14416.

    Deviation: the authors cluster the features of the network that is matching at that moment; here those of
    one network trained on the data (or other `features`), from another start of k-means each time.

    Args:
        features: "trained", "raw", "imagenet", an extractor or any module.
        period: iterations after which the samples are clustered anew; 10 as published.

    Raises:
        ValueError: for unknown features or a period below 1.
    """

    features: str | Extractor | Callable[[Tensor], Tensor] = "trained"
    period: int = 10

    def __post_init__(self) -> None:
        check_count("NearestToCentroids", "period", self.period)
        object.__setattr__(self, "features", extractor(self.features))

    def start(self, context: Context) -> BatchSelector:
        return _NearestSelector(self, context)


class _NearestSelector(BatchSelector):
    def __init__(self, spec: NearestToCentroids, context: Context) -> None:
        self.period, self.context = spec.period, context
        look = FeatureExtractor(spec.features, context)
        self.features = [look(members) for members in context.real.members]
        self.chosen: dict[tuple[int, int], tuple[int, Tensor]] = {}

    def select(self, iteration: int, group: int, batch: int) -> Tensor:
        members, number = self.context.real.members[group], iteration // self.period
        found = self.chosen.get((group, batch))
        if found is None or found[0] != number:
            seed = self.context.rng.seed_for("nearest", number, group)
            found = number, members[representatives(self.features[group], min(batch, len(members)), seed)]
            self.chosen[group, batch] = found
        return found[1]


def kmeans(features: Tensor, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's k-means, with at most as many clusters as there are different rows.

    Args:
        features: (n, D).
        k: clusters asked for.
        seed: non-negative.

    Returns:
        The cluster of every row (n,) int64, and the centroids (k, D) float32.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    rows: Any = features.float().numpy() + 0.0  # one sign of zero, so that equal rows have equal bytes
    count = min(k, len({row.tobytes() for row in rows}))
    maker = KMeans if len(rows) < MINI_BATCHES_FROM else MiniBatchKMeans
    found = maker(count, n_init=1, random_state=seed % 2**32).fit(rows)
    return torch.from_numpy(found.labels_).long(), torch.from_numpy(found.cluster_centers_).float()


def representatives(features: Tensor, count: int, seed: int) -> Tensor:
    """Different rows, the one nearest to the centroid of each of `count` clusters: (count,) indices.

    Where there are fewer different rows than asked for, the first unused ones follow.

    Args:
        features: (n, D), n >= count.
        count: rows asked for.
        seed: of k-means.
    """
    labels, centroids = kmeans(features, count, seed)
    distances = (features.double() - centroids[labels].double()).square().sum(1)
    chosen: list[int] = []
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        chosen.append(int(members[int(np.argmin(distances[members].numpy()))]))
    unused = sorted(set(range(len(features))) - set(chosen))
    return torch.tensor(chosen + unused[: count - len(chosen)])
