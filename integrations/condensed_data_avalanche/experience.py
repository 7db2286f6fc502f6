"""Reads the samples of an experience into tensors, and records the format in which a benchmark gives them.

One collate function batches memory and current data together, so that the memory must give items of the same format:
as many fields, labels of the same type, values of the same dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor

from condensed_data.core.rng import preserve_rng_state
from condensed_data.data.batched_reads import read_batches
from condensed_data.data.sample import SourceError

_CHANGED = (
    "Sample {index} of the experience differs between two reads. Give the benchmark an eval_transform without random "
    "steps."
)


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
        SourceError: for samples that are not tensors, have several shapes or differ between two reads, or for items
            other than (sample, label[, task]).
    """
    view = dataset.eval() if isinstance(dataset, AvalancheDataset) else dataset
    batches: list[ExperienceData] = []
    with preserve_rng_state():
        read_batches(
            partial(_read_item, view),
            range(len(view)),
            _collate,
            batches.append,
            changed=_CHANGED,
            title="reading the experience",
            num_workers=num_workers,
            progress=False,
        )
    _check_shapes([batch.samples[0] for batch in batches])
    return ExperienceData(
        torch.cat([batch.samples for batch in batches]).float(),
        torch.cat([batch.labels for batch in batches]),
        torch.cat([batch.tasks for batch in batches]),
        _format(dataset, batches[0].format),
    )


def _format(dataset: Any, items: BenchmarkFormat) -> BenchmarkFormat:
    """The format of a dataset whose items have the format `items`."""
    if isinstance(dataset, AvalancheDataset):
        return replace(items, task_set=hasattr(dataset, "task_set"))
    return replace(items, tasks=True, task_set=True, tensor_labels=False)


def _read_item(view: Any, index: int) -> tuple[Tensor, int, int, BenchmarkFormat]:
    """Sample, label, task label (0 without one) and format of an item."""
    try:
        item = view[index]
    except Exception as error:
        raise SourceError(f"Sample {index} cannot be read: {type(error).__name__}: {error}") from error
    _check_item(item, view)
    sample = _sample(item[0], index)
    form = BenchmarkFormat(
        tasks=len(item) > 2,
        task_set=False,  # known from the dataset
        tensor_labels=isinstance(item[1], Tensor),
        dtype=str(sample.dtype).removeprefix("torch."),
    )
    return sample, int(item[1]), int(item[2]) if len(item) > 2 else 0, form


def _collate(items: list[tuple[Tensor, int, int, BenchmarkFormat]]) -> ExperienceData:
    samples, labels, tasks, formats = zip(*items, strict=True)
    _check_shapes(samples)
    return ExperienceData(torch.stack(samples), torch.tensor(labels), torch.tensor(tasks), formats[0])


def _check_shapes(samples: Sequence[Tensor]) -> None:
    shapes = {tuple(sample.shape) for sample in samples}
    if len(shapes) > 1:
        raise SourceError(
            f"Samples have several shapes: {sorted(shapes)[:3]}. Give the benchmark a transform that resizes them."
        )


def _check_item(item: Any, view: Any) -> None:
    kind = type(view).__name__
    if isinstance(item, Mapping):
        raise SourceError(
            f"{kind} returns dictionaries with keys {', '.join(map(repr, item))}, but CondensedBuffer needs "
            "(sample, label) or (sample, label, task). Give the benchmark a dataset of tuples."
        )
    if not isinstance(item, list | tuple):
        raise SourceError(f"{kind} returns {type(item).__name__} items, but needs to return (sample, label[, task]).")
    if len(item) == 3 and isinstance(view, AvalancheDataset) and not hasattr(view, "targets_task_labels"):
        raise SourceError(f"The third field of the items of {kind} is not a task label (targets_task_labels). Omit it.")
    if len(item) not in (2, 3):
        raise SourceError(f"{kind} returns items of {len(item)} fields, but needs to return (sample, label[, task]).")


def _sample(sample: Any, index: int) -> Tensor:
    if not isinstance(sample, Tensor):
        raise SourceError(
            f"Sample {index} is a {type(sample).__name__}, not a tensor. Give the benchmark an eval_transform that "
            "makes tensors, such as torchvision's ToTensor()."
        )
    return sample.detach().cpu().clone()
