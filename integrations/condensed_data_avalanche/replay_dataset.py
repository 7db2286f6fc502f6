"""Gives stored samples as an AvalancheDataset in the format of a benchmark.

Letters: n samples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset, TransformGroups
from avalanche.benchmarks.utils.classification_dataset import (
    ClassificationDataset,
    TaskAwareSupervisedClassificationDataset,
)
from avalanche.benchmarks.utils.data_attribute import DataAttribute, TaskLabels, TensorDataAttribute
from avalanche.benchmarks.utils.flat_data import FlatData
from torch import Tensor
from torch.utils.data import Dataset

from condensed_data_avalanche.experience import BenchmarkFormat

Transform = Callable[[Tensor], Tensor]


class Samples(Dataset[Any]):
    """Samples (n, *shape) with labels that are integers or 0-d tensors."""

    def __init__(self, samples: Tensor, labels: Sequence[int], tensor_labels: bool) -> None:
        self.samples, self.targets, self.tensor_labels = samples, list(labels), tensor_labels

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        # a copy, so that an in-place transform does not change the memory
        label = self.targets[index]
        return self.samples[index].clone(), torch.tensor(label) if self.tensor_labels else label


def as_avalanche_dataset(
    samples: Tensor,
    labels: Sequence[int],
    tasks: Sequence[int],
    benchmark_format: BenchmarkFormat,
    transform: Transform | None = None,
    logits: Tensor | None = None,
) -> AvalancheDataset[Any]:
    """Wrap samples in a dataset of a benchmark's format.

    Args:
        samples: (n, *shape) in the source's value space.
        labels, tasks: n of each.
        benchmark_format: of the data that the dataset is mixed with.
        transform: of a sample, in the "train" group only.
        logits: (n, K), appended to every item.
    """
    values = _cast(samples, getattr(torch, benchmark_format.dtype))
    attributes = [DataAttribute(list(labels), "targets")]
    if benchmark_format.tasks:
        attributes.append(TaskLabels(list(tasks)))
    if logits is not None:
        rows = FlatData([list(logits.float())], discard_elements_not_in_indices=True)
        attributes.append(TensorDataAttribute(rows, "logits", use_in_getitem=True))
    # "eval" is given because a group that is missing inherits "train"
    groups = TransformGroups({"train": (transform, None), "eval": (None, None)})
    cls: Any = TaskAwareSupervisedClassificationDataset if benchmark_format.task_set else ClassificationDataset
    source = Samples(values, labels, benchmark_format.tensor_labels)
    data: AvalancheDataset[Any] = cls([source], data_attributes=attributes, transform_groups=groups)
    return data


def _cast(samples: Tensor, dtype: torch.dtype) -> Tensor:
    """Samples in the dtype of current data; another one would silently change that of a whole batch."""
    if dtype.is_floating_point:
        return samples.to(dtype)
    limits = torch.iinfo(dtype)
    return samples.round().clamp(limits.min, limits.max).to(dtype)
