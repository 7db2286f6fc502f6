"""Small sources, and short ways to read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from condensed_data.data.real import RealData
from condensed_data.data.source import Source, inspect, read


class Listed(Dataset[Any]):
    """Items from a list; an exception in the list is raised where it is read."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def contents(source: Source, num_workers: int = 0) -> tuple[Tensor, Tensor]:
    """Samples (n, *shape) and labels (n,) as they are read."""
    reading = read(source, num_workers, progress=False)
    return reading.store[torch.arange(len(source))], reading.labels


def real_of(dataset: Any, groups: Any = None) -> RealData:
    """The real samples of a dataset."""
    source = inspect(dataset)
    return RealData.from_loaded(read(source, progress=False), source.kind, source.class_names, groups)


def real(samples: Tensor, labels: Tensor | None = None, groups: Any = None) -> RealData:
    """The real samples of tensors (n, *shape) and (n,); two classes by turns without labels."""
    classes = torch.arange(len(samples)) % 2 if labels is None else labels
    return real_of(TensorDataset(samples, classes), groups)
