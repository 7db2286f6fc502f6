"""Means of clusters, as initial samples or as a compact summary of stored ones.

Letters: n rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from condensed_data.methods.coresets import Init
from condensed_data.methods.samplers.clustering import kmeans
from condensed_data.training.context import Context


@dataclass(frozen=True)
class Centroids(Init):
    """The centroids of k-means on the values of the samples, group by group.

    Unlike `coresets.KMeans` these are means, not real samples. For few samples they describe a class best in squared
    error; matching then adds the details that networks use.
    """

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        blocks = []
        for group, size in enumerate(sizes):
            rows = context.real[context.real.members[group]].cpu()
            blocks.append(centroids(rows, size, context.rng.seed_for("centroids", group)))
        return torch.cat(blocks).to(context.device)


def centroids(rows: Tensor, count: int, seed: int) -> Tensor:
    """Centroids of k-means, the largest cluster first: (count, *sample) float32.

    With fewer distinct rows (n, *sample) than requested, they are repeated in this order.
    """
    index = assign(rows, count, seed)
    means = torch.stack([rows[members].float().mean(0) for members in index])
    return means.repeat(-(-count // len(means)), *[1] * (means.dim() - 1))[:count]


def assign(rows: Tensor, count: int, seed: int) -> list[Tensor]:
    """Indices of the rows (n, *sample) of at most `count` clusters, the largest cluster first."""
    labels, _ = kmeans(rows.flatten(1), count, seed)
    clusters = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    return sorted(clusters, key=len, reverse=True)
