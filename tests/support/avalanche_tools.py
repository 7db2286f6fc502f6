"""Tiny benchmarks of Avalanche's four kinds, and fast strategies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from avalanche.benchmarks import class_incremental_benchmark, nc_benchmark, task_incremental_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training.supervised import Naive
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from condensed_data import recipes
from condensed_data.methods.recipe import Recipe

SHAPE = (1, 8, 8)
CLASSES = 4
PER_CLASS = 12
NET = "convnet-d2-w4"


class Samples(Dataset[Any]):
    """Learnable noise around one prototype per class: samples (n, *shape) in [0, 1], integer labels."""

    def __init__(self, shape: Sequence[int] = SHAPE, classes: int = CLASSES, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        prototypes = torch.rand(classes, *shape, generator=torch.Generator().manual_seed(9))
        labels = torch.arange(classes).repeat_interleave(PER_CLASS)
        noise = torch.randn(len(labels), *shape, generator=generator)
        self.samples = (prototypes[labels] + 0.2 * noise).clamp(0, 1)
        self.targets = labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.samples[index], self.targets[index]


def tiny(iterations: int = 2, **arguments: Any) -> Recipe:
    """A fast recipe for distribution matching."""
    return recipes.dm(iterations=iterations, batch=4, network=NET, **arguments)


def old_kind(shape: Sequence[int] = SHAPE, **arguments: Any) -> Any:
    """Items (x, y, t), two classes per experience."""
    train, test = Samples(shape), Samples(shape, seed=1)
    options = {"n_experiences": 2, "task_labels": False, "shuffle": False, **arguments}
    return nc_benchmark(train, test, **options)


def new_kind() -> Any:
    """Items (x, y)."""
    return class_incremental_benchmark(
        {name: as_classification_dataset(Samples(seed=seed)) for seed, name in enumerate(("train", "test"))},
        num_experiences=2,
    )


def task_kind() -> Any:
    """Items (x, y, t) of datasets that cannot be split by task."""
    return task_incremental_benchmark(new_kind())


def tensor_kind() -> Any:
    """Items (x, y, t) whose labels are 0-d tensors."""
    train, test = Samples(), Samples(seed=1)
    parts = [TensorDataset(part.samples, torch.tensor(part.targets)) for part in (train, test)]
    for dataset in parts:
        dataset.targets = dataset.tensors[1]  # type: ignore[attr-defined]
    return nc_benchmark(*parts, n_experiences=2, task_labels=False, shuffle=False)


KINDS = {"old": old_kind, "new": new_kind, "task": task_kind, "tensor": tensor_kind}


def linear(shape: Sequence[int] = SHAPE) -> nn.Module:
    """A model with BatchNorm, whose statistics show whether it was used in training mode."""
    values = torch.Size(shape).numel()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(values, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES))


def common(model: nn.Module | None = None, **arguments: Any) -> dict[str, Any]:
    """Keyword arguments of every strategy."""
    model = linear() if model is None else model
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.05),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": 8,
        "eval_mb_size": 16,
        "evaluator": None,
        **arguments,
    }


def naive(plugin: Any, model: nn.Module | None = None, **arguments: Any) -> Any:
    """A strategy with one plugin."""
    return Naive(**common(model, **arguments), plugins=[plugin])
