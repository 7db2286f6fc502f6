"""Stored samples as the AvalancheDataset that hosts mix with current data.

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
    """Tensors (n, *shape) and labels, item by item; labels are integers or 0-d tensors."""

    def __init__(self, samples: Tensor, labels: Sequence[int], tensor_labels: bool) -> None:
        self.samples, self.targets, self.tensor_labels = samples, list(labels), tensor_labels

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        # a copy: a transform that works in place must not change the memory
        label = self.targets[index]
        return self.samples[index].clone(), torch.tensor(label) if self.tensor_labels else label


def as_avalanche_dataset(
    samples: Tensor,
    labels: Sequence[int],
    tasks: Sequence[int],
    form: BenchmarkFormat,
    transform: Transform | None = None,
    logits: Tensor | None = None,
) -> AvalancheDataset[Any]:
    """A dataset of the benchmark's form.

    Args:
        samples: (n, *shape) in the source's value space.
        labels, tasks: n of each.
        form: of the data that it is mixed with.
        transform: of a sample, in the "train" group alone.
        logits: (n, K), the last field where they are given.
    """
    values = _typed(samples, getattr(torch, form.dtype))
    attributes = [DataAttribute(list(labels), "targets")]
    if form.tasks:
        attributes.append(TaskLabels(list(tasks)))
    if logits is not None:
        rows = FlatData([list(logits.float())], discard_elements_not_in_indices=True)
        attributes.append(TensorDataAttribute(rows, "logits", use_in_getitem=True))
    # "eval" is named because Avalanche lets a missing group inherit "train"
    groups = TransformGroups({"train": (transform, None), "eval": (None, None)})
    cls: Any = TaskAwareSupervisedClassificationDataset if form.task_set else ClassificationDataset
    data: AvalancheDataset[Any] = cls(
        [Samples(values, labels, form.tensor_labels)], data_attributes=attributes, transform_groups=groups
    )
    return data


def _typed(samples: Tensor, dtype: torch.dtype) -> Tensor:
    """In the type of the current data: another one would silently change that of a whole batch."""
    if dtype.is_floating_point:
        return samples.to(dtype)
    limits = torch.iinfo(dtype)
    return samples.round().clamp(limits.min, limits.max).to(dtype)
