"""Reads the samples of an experience into tensors, and records the format in which a benchmark gives them.

One collate function batches memory and current data together, so that the memory must give items of the same format:
as many fields, labels of the same type, values of the same dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor
from torch.utils.data import DataLoader

from condensed_data.core.rng import preserve_rng_state
from condensed_data.core.torch_settings import enter_for_good


@dataclass(frozen=True)
class BenchmarkFormat:
    """How a benchmark gives its samples.

    Attributes:
        tasks: whether the third field is a task label.
        task_set: whether the dataset can be split by task, as those of the older benchmarks can.
        tensor_labels: whether labels are 0-d tensors instead of integers.
        dtype: of the values, for instance "float32".
    """

    tasks: bool
    task_set: bool
    tensor_labels: bool
    dtype: str


@dataclass(frozen=True, eq=False)
class ExperienceData:
    """Samples (n, *shape) float32, labels (n,) int64, task labels (n,) int64, and their format."""

    samples: Tensor
    labels: Tensor
    tasks: Tensor
    format: BenchmarkFormat

    def cells(self) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """Yield ((class, task), samples) in order of first appearance."""
        pairs = torch.stack([self.labels, self.tasks], 1)
        unique, inverse = pairs.unique(dim=0, return_inverse=True)
        first = [int((inverse == index).nonzero()[0, 0]) for index in range(len(unique))]
        for index in sorted(range(len(unique)), key=first.__getitem__):
            yield (int(unique[index, 0]), int(unique[index, 1])), self.samples[inverse == index]


def read_experience(dataset: Any, num_workers: int = 0) -> ExperienceData:
    """Read every sample once, without training augmentation; global random states are preserved.

    Args:
        dataset: an AvalancheDataset, read with its eval transforms; or any map-style dataset, whose samples are kept
            as Avalanche's own buffers keep them, with task label 0.
        num_workers: processes that read.

    Raises:
        TypeError: for samples that are not tensors, or items that are not sequences.
        ValueError: for items with other fields, or samples of several shapes.
    """
    view = dataset.eval() if isinstance(dataset, AvalancheDataset) else dataset
    with preserve_rng_state():
        first = view[0]
        _check_item(first, view)
        samples: list[Tensor] = []
        labels, tasks = [], []
        for item in _items(view, num_workers):
            samples.append(_sample(item[0], len(samples)))
            labels.append(int(item[1]))
            tasks.append(int(item[2]) if len(item) > 2 else 0)
    shapes = {tuple(sample.shape) for sample in samples}
    if len(shapes) > 1:
        raise ValueError(
            f"Samples have several shapes: {sorted(shapes)[:3]}. Give the benchmark a transform that resizes them."
        )
    data = torch.stack(samples).float(), torch.tensor(labels), torch.tensor(tasks)
    return ExperienceData(*data, _format(dataset, first))


def _items(view: Any, num_workers: int) -> Iterator[Any]:
    if not num_workers:
        return (view[index] for index in range(len(view)))
    loader: Any = DataLoader(
        view, batch_size=64, num_workers=num_workers, collate_fn=list, worker_init_fn=enter_for_good
    )
    return (item for batch in loader for item in batch)


def _format(dataset: Any, item: Any) -> BenchmarkFormat:
    plain = not isinstance(dataset, AvalancheDataset)
    return BenchmarkFormat(
        tasks=plain or len(item) > 2,
        task_set=plain or hasattr(dataset, "task_set"),
        tensor_labels=not plain and isinstance(item[1], Tensor),
        dtype=str(item[0].dtype).removeprefix("torch."),
    )


def _check_item(item: Any, view: Any) -> None:
    kind = type(view).__name__
    if isinstance(item, Mapping):
        raise TypeError(
            f"{kind} returns dictionaries with keys {', '.join(map(repr, item))}, but CondensedBuffer needs "
            "(sample, label) or (sample, label, task). Give the benchmark a dataset of tuples."
        )
    if not isinstance(item, list | tuple):
        raise TypeError(f"{kind} returns {type(item).__name__} items, but needs to return (sample, label[, task]).")
    if len(item) == 3 and isinstance(view, AvalancheDataset) and not hasattr(view, "targets_task_labels"):
        raise ValueError(f"The third field of the items of {kind} is not a task label (targets_task_labels). Omit it.")
    if len(item) not in (2, 3):
        raise ValueError(f"{kind} returns items of {len(item)} fields, but needs to return (sample, label[, task]).")


def _sample(sample: Any, index: int) -> Tensor:
    if not isinstance(sample, Tensor):
        raise TypeError(
            f"Sample {index} is a {type(sample).__name__}, not a tensor. Give the benchmark an eval_transform that "
            "makes tensors, such as torchvision's ToTensor()."
        )
    return sample.detach().cpu()
