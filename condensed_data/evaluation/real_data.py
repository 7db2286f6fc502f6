"""Real samples that condensed ones are compared with: as networks receive them, and random subsets of them.

Letters: n samples.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from condensed_data.core.rng import RandomStreams
from condensed_data.data.source import inspect, read
from condensed_data.engine.functional import condense_tensors
from condensed_data.methods import recipes
from condensed_data.storage.metadata import Metadata

MAX_BYTES = 1 << 30  # of the full dataset's samples that are kept in memory to train on


def training_part(train: Any, draws: int, metadata: Metadata, seed: int) -> tuple[Any, str]:
    """The part of the full dataset that so many draws need, within `MAX_BYTES`, and a name for it.

    Where the draws are fewer than the samples, a random part of as many samples is as good as all of them.
    """
    fit = MAX_BYTES // (4 * math.prod(metadata.kind.shape))
    if len(train) <= min(draws, fit):
        return train, "whole set"
    order = torch.randperm(len(train), generator=RandomStreams(seed).torch("seen"))
    part = Subset(train, order[: min(draws, fit)].sort().values.tolist())
    return part, "whole set" if draws <= fit else f"{fit:,} of the whole set"


def read_samples(dataset: Any, num_workers: int, progress: bool) -> tuple[Tensor, Tensor]:
    """Samples (n, *shape) float32 in the source's value space, and labels (n,) in its own values."""
    source = inspect(dataset)
    loaded = read(source, num_workers, progress)
    rows = loaded.store[torch.arange(len(loaded.labels))].float()
    return rows / 255 if source.kind.is_pil else rows, loaded.labels


def standardize(samples: Tensor, labels: Tensor, metadata: Metadata) -> tuple[Tensor, Tensor]:
    """Standardized samples (n, *shape) and class indices (n,), as `metadata` describes them."""
    return metadata.space.standardize(samples), torch.searchsorted(torch.tensor(metadata.class_values), labels)


def random_subset(images: Tensor, labels: Tensor, ipc: int, seed: int) -> tuple[Tensor, Tensor]:
    """`ipc` random samples of each class, as the recipe `random` draws them."""
    return condense_tensors(images, labels, recipes.random(ipc=ipc), seed=seed, device="cpu")
