"""Real samples that condensed ones are compared with: a part that fits into memory, and random subsets.

Letters: n samples.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from condensed_data.core.rng import RandomStreams
from condensed_data.core.torch_settings import own_settings
from condensed_data.data.axes import AXES, state_axes
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.engine.functional import condense_tensors
from condensed_data.methods import recipes
from condensed_data.storage.metadata import Metadata
from condensed_data.training.evaluate import evaluate_tensors
from condensed_data.training.evaluation_result import Evaluation

MAX_BYTES = 1 << 30  # of the full dataset's samples that are kept in memory to train on


@own_settings()
def training_part(train: Any, draws: int, metadata: Metadata, seed: int) -> tuple[Any, str]:
    """The part of the full dataset that so many draws need, within `MAX_BYTES`, and a name for it.

    If the draws are fewer than the samples, a random part of as many samples is as good as all of them.
    """
    fit = MAX_BYTES // (4 * math.prod(metadata.kind.shape))
    if len(train) <= min(draws, fit):
        return train, "whole set"
    order = torch.randperm(len(train), generator=RandomStreams(seed).torch("seen"))
    part = Subset(train, order[: min(draws, fit)].sort().values.tolist())
    return part, "whole set" if draws <= fit else f"{fit:,} of the whole set"


@own_settings()
def in_memory(dataset: Any, num_workers: int = 0, progress: bool = False) -> TensorDataset:
    """Samples (n, *shape) float32 in the source's value space, and labels (n,) in its own values, with their names."""
    real = RealData.read(inspect(dataset, num_workers), None, progress)
    plain = TensorDataset(real.all_samples(), real.class_values[real.labels])
    if real.source_classes is not None:
        plain.classes = real.source_classes  # type: ignore[attr-defined]
    return state_axes(plain, AXES.get(len(real.sample_shape)))


@own_settings()
def evaluate_random_subsets(
    full: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], ipc: int, runs: int, seed: int, **options: Any
) -> list[Evaluation]:
    """Train one network on each of several random subsets, which the recipe `random` draws.

    Args:
        full, test: standardized samples (n, *shape) and class indices (n,).
        ipc: samples of each class in a subset.
        seed: of the first subset and its network; the next has the next seed.
        runs, options: number of subsets, and keyword arguments of `evaluate_tensors`.
    """
    recipe, axes = recipes.random(ipc=ipc), AXES.get(full[0].dim() - 1)
    return [
        evaluate_tensors(
            *condense_tensors(*full, recipe, sample_axes=axes, seed=number, device="cpu"),
            *test,
            runs=1,
            seed=number,
            **options,
        )
        for number in range(seed, seed + runs)
    ]
