"""Selects the real batch of a group by k-means: all of one cluster, or spread over all clusters.

`PerGroup(within=...)` accepts one of these in any method:

* `Clusters` (batch feature matching, "BDM"): every batch comes from one cluster of the group, so that its samples share
  a feature.
* `NearestToCentroids` (DREAM): every batch holds the sample nearest to each of as many centroids, so that it covers the
  group evenly.

Letters: n samples, k clusters, D features.
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
from condensed_data.core.validation import check_choice, check_count
from condensed_data.training.context import Context
from condensed_data.training.features import Extractor, FeatureExtractor, extractor, stage_extractor

MINI_BATCH_THRESHOLD = 20_000  # samples per group from which MiniBatchKMeans replaces KMeans


class BatchSelector(ABC):
    """Run state of a `BatchSelection`. It depends on the run's seed alone, so there is nothing to checkpoint."""

    @abstractmethod
    def select(self, iteration: int, group: int, batch: int) -> Tensor:
        """Indices of min(batch, size of the group) real samples of `group`."""


class BatchSelection(Spec, ABC):
    """Specification of which real samples of a group are compared with its synthetic ones."""

    @abstractmethod
    def start(self, context: Context) -> BatchSelector:
        """Cluster the real samples."""


@dataclass(frozen=True)
class Clusters(BatchSelection):
    """Batches from one cluster: k-means clusters every group's real samples, and each batch is drawn from one cluster.

    A batch of a larger cluster holds distinct samples. Those of a smaller one are all drawn, and repeated as evenly as
    possible, so that batches have a constant shape; a cluster of one sample fills its batch. Groups of fewer samples
    than `k` have fewer clusters. Features of one group are in memory at a time: at stage 1 and 32x32 pixels 16 kB a
    sample, 98 MB for 6,000, which k-means copies once.

    Args:
        k: clusters per group.
        features: "imagenet" (the feature map of stage 1 of ResNet18, as in the original paper), "trained" (that of a
            ResNet18 trained on the data, or of the default network if samples are not images), "raw", an extractor such
            as `ImageNet(layer=1)`, the spatial means of the map, or any module.
        weights: how often a cluster is drawn: "size" in proportion to its samples, so that the expected batch is that
            of the group and clusters of few outliers are rare; "uniform" equally often.
    """

    k: int = 20
    features: str | Extractor | Callable[[Tensor], Tensor] = "imagenet"
    weights: str = "size"

    def __post_init__(self) -> None:
        check_count("Clusters", "k", self.k)
        check_choice("Clusters", "weights", self.weights, ("size", "uniform"))
        object.__setattr__(self, "features", stage_extractor(self.features))

    def start(self, context: Context) -> BatchSelector:
        return _ClusterSelector(self.weights, context, self.partition(context))

    def partition(self, context: Context, groups: Sequence[int] | None = None) -> tuple[tuple[Tensor, ...], ...]:
        """The clusters of each group, as tensors of sample indices that partition the group.

        Args:
            context: of the run.
            groups: which groups to cluster, independently of each other; None for all.
        """
        extract, clusters = FeatureExtractor(self.features, context), []
        for group in range(context.real.num_groups) if groups is None else groups:
            members = context.real.members[group]
            labels, _ = kmeans(extract(members), self.k, context.rng.seed_for("clusters", group))
            clusters.append(tuple(members[labels == label] for label in labels.unique()))
        return tuple(clusters)


class _ClusterSelector(BatchSelector):
    def __init__(self, weights: str, context: Context, clusters: tuple[tuple[Tensor, ...], ...]) -> None:
        self.weights, self.rng, self.clusters = weights, context.rng, clusters

    def select(self, iteration: int, group: int, batch: int) -> Tensor:
        rng, clusters = self.rng, self.clusters[group]
        sizes = np.array([len(cluster) for cluster in clusters])
        chances = sizes / sizes.sum() if self.weights == "size" else None
        cluster = clusters[int(rng.numpy("cluster", iteration, group).choice(len(clusters), p=chances))]
        count = min(batch, int(sizes.sum()))
        remainder = rng.choice("real", iteration, group, len(cluster), count % len(cluster))
        return torch.cat([cluster.repeat(count // len(cluster)), cluster[remainder]])


@dataclass(frozen=True)
class NearestToCentroids(BatchSelection):
    """Batches of the sample nearest to each centroid of k-means with one cluster per row.

    Liu et al., DREAM: Efficient Dataset Distillation by Representative Matching, ICCV 2023,
    https://arxiv.org/abs/2302.14416.

    Deviation: the authors cluster the features of the network that is used for matching at that moment; here they are
    those of one network trained on the data (or other `features`), and k-means starts differently each time.

    Args:
        features: "trained", "raw", "imagenet", an extractor or any module.
        period: iterations after which the samples are clustered again; 10 as published.
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
        extract = FeatureExtractor(spec.features, context)
        self.features = [extract(members) for members in context.real.members]
        self._selected: dict[tuple[int, int], tuple[int, Tensor]] = {}  # (group, batch): (clustering, indices)

    def select(self, iteration: int, group: int, batch: int) -> Tensor:
        members, clustering = self.context.real.members[group], iteration // self.period
        selected = self._selected.get((group, batch))
        if selected is None or selected[0] != clustering:
            seed = self.context.rng.seed_for("nearest", clustering, group)
            index = representatives(self.features[group], min(batch, len(members)), seed)
            selected = self._selected[group, batch] = clustering, members[index]
        return selected[1]


def kmeans(features: Tensor, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's k-means of features (n, D), with at most as many clusters as there are distinct rows.

    Returns:
        The cluster of every row (n,) int64, and the centroids (at most k, D) float32.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    rows: Any = features.float().numpy() + 0.0  # turns -0 into 0, so that equal rows have equal bytes
    distinct: set[bytes] = set()
    for row in rows:
        distinct.add(row.tobytes())
        if len(distinct) == k:
            break
    estimator = KMeans if len(rows) < MINI_BATCH_THRESHOLD else MiniBatchKMeans
    fitted = estimator(len(distinct), n_init=1, random_state=seed % 2**32).fit(rows)
    return torch.from_numpy(fitted.labels_).long(), torch.from_numpy(fitted.cluster_centers_).float()


def representatives(features: Tensor, count: int, seed: int) -> Tensor:
    """Indices (count,) of distinct rows (n, D): the one nearest to the centroid of each of `count` clusters.

    If there are fewer distinct values than `count`, which is at most n, the first unused rows follow.
    """
    labels, centroids = kmeans(features, count, seed)
    distances = (features.double() - centroids[labels].double()).square().sum(1)
    clusters = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    nearest = [int(members[int(np.argmin(distances[members].numpy()))]) for members in clusters]
    unused = sorted(set(range(len(features))) - set(nearest))
    return torch.tensor(nearest + unused[: count - len(nearest)])
