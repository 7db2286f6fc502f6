"""One run of `continual.py` at equal bytes: Split-Fashion-MNIST, 5 x 2 classes, in the order of their labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from avalanche.benchmarks import nc_benchmark
from continual_parts import (
    BATCH,
    CLASSES,
    EXPERIENCES,
    Images,
    Network,
    eval_transform,
    memory_of,
    memory_size,
    strategy,
)
from rows import Row
from torch import Tensor, nn
from torchvision.datasets import FashionMNIST

VALIDATION = 6  # every 6th training sample of a class is left out of training and used to choose learning rates


def benchmark_of(root: Path, samples: int | None, validation: bool) -> Any:
    """The stream of experiences.

    Args:
        root: folder of torchvision's files.
        samples: the first ones of each split, or None for all.
        validation: test on training samples that are left out of training.
    """
    train = _split(root, True, samples)
    if validation:
        kept = torch.ones(len(train[1]), dtype=torch.bool)
        kept[train[1].argsort(stable=True)[::VALIDATION]] = False
        parts = [(train[0][chosen], train[1][chosen]) for chosen in (kept, ~kept)]
    else:
        parts = [train, _split(root, False, samples)]
    benchmark: Any = nc_benchmark(
        *(Images(*part) for part in parts),
        n_experiences=EXPERIENCES,
        task_labels=False,
        shuffle=False,
        fixed_class_order=list(range(CLASSES)),
    )
    benchmark.tested = [_tensors(experience.dataset) for experience in benchmark.test_stream]
    return benchmark


def measure(
    benchmark: Any, name: str, budget: int, seed: int, lr: float, augment: bool, steps: int, final_only: bool
) -> Row:
    """One run: accuracy on all classes seen after each experience, seconds and bytes.

    Args:
        final_only: for a host that starts over with every experience, train after the last one only: the same final
            accuracy in a fraction of the time.

    Raises:
        RuntimeError: for a memory that exceeds `budget` bytes at any time.
    """
    torch.manual_seed(seed)
    found = strategy(name, budget, seed, steps, _common(seed, lr, augment))
    memory = memory_of(found)
    spent = _record_cpu_seconds(memory)
    curve, condensing, condensing_cpu, most = [], [], [], 0
    started, cpu = time.perf_counter(), time.process_time()
    experiences = list(benchmark.train_stream)
    for number, experience in enumerate(experiences):
        spent.clear()
        if final_only and number < len(experiences) - 1:
            memory.update(SimpleNamespace(experience=experience))
        else:
            found.train(experience)
            curve.append(_accuracy(found.model, eval_transform(found), benchmark, number))
        condensing.append(round(getattr(memory, "condensing_seconds", 0.0), 1))
        condensing_cpu.append(round(sum(spent), 1))
        most = max(most, memory_size(found)[1])
    if most > budget:
        raise RuntimeError(f"{name} kept {most} bytes, but its budget is {budget}.")
    return {
        "curve": curve,
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "condensing_seconds": condensing,
        "condensing_cpu_seconds": condensing_cpu,
        "memory_bytes": most,
        "samples": memory_size(found)[0],
        "threads": torch.get_num_threads(),
    }


def _common(seed: int, lr: float, augment: bool) -> dict[str, Any]:
    model = Network(seed, augment)
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": BATCH,
        "eval_mb_size": 500,
        "evaluator": None,
    }


def _record_cpu_seconds(memory: Any) -> list[float]:
    """Processor seconds of each call of `condense`, which other processes do not lengthen."""
    spent: list[float] = []
    condense: Callable[..., None] | None = getattr(memory, "condense", None)
    if condense is not None:

        def timed(*arguments: Any) -> None:
            before = time.process_time()
            condense(*arguments)
            spent.append(time.process_time() - before)

        memory.condense = timed
    return spent


@torch.no_grad()
def _accuracy(model: nn.Module, transform: Callable[[Tensor], Tensor], benchmark: Any, number: int) -> float:
    """On the test samples of all classes seen, in percent."""
    model.eval()
    right, total = 0, 0
    for experience in list(benchmark.test_stream)[: number + 1]:
        samples, labels = benchmark.tested[experience.current_experience]
        for x, y in zip(samples.split(500), labels.split(500), strict=True):
            right += int((model(transform(x)).argmax(1) == y).sum())
        total += len(labels)
    return round(100 * right / total, 2)


def _split(root: Path, train: bool, samples: int | None) -> tuple[Tensor, Tensor]:
    found = FashionMNIST(str(root), train=train)
    return found.data[:samples], found.targets[:samples]


def _tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    items = [dataset[index] for index in range(len(dataset))]
    return torch.stack([item[0] for item in items]), torch.tensor([item[1] for item in items])
