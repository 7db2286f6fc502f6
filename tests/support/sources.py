"""Small sources, and shortcuts to read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, get_worker_info

from condensed_data.data.real import RealData
from condensed_data.data.source import Source, inspect, read


class ListDataset(Dataset[Any]):
    """Items of a list; an exception in the list is raised when it is read."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def contents(source: Source) -> tuple[Tensor, Tensor]:
    """Samples (n, *shape) and labels (n,) as `read` loads them."""
    loaded = read(source, progress=False)
    return loaded.store[torch.arange(len(source))], loaded.labels


def real_of(dataset: Any, groups: Any = None) -> RealData:
    """Real data of a dataset."""
    source = inspect(dataset)
    return RealData.from_loaded(read(source, progress=False), source.kind, source.class_names, groups)


def real(samples: Tensor, labels: Tensor | None = None, groups: Any = None) -> RealData:
    """Real data of tensors (n, *shape) and (n,); without labels, two classes alternate."""
    classes = torch.arange(len(samples)) % 2 if labels is None else labels
    return real_of(TensorDataset(samples, classes), groups)


class InWorkers(Dataset[Any]):
    """The samples of a dataset, which must be read in worker processes, as must attributes that open a file."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        self._check(f"sample {index}")
        return self.dataset[index]

    @property
    def classes(self) -> list[str]:
        self._check("classes")
        return ["a", "b", "c"]

    @property
    def targets(self) -> list[int]:
        self._check("targets")
        return [label for _, label in self.dataset]

    @property
    def halves(self) -> list[int]:
        self._check("halves")
        return [index % 2 for index in range(len(self))]

    @staticmethod
    def _check(what: str) -> None:
        if get_worker_info() is None:
            raise RuntimeError(f"{what} is read in the calling process")
