"""What a build tells at its end: sizes, times, and how good the result is beside what it replaces.

The comparison trains networks on the condensed set, on random subsets of the same size and on the whole set,
all for the same number of steps of the quick protocol, and tests them on the source's test split.

Letters: N samples of a set, n of the whole source.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data import networks, recipes
from condensed_data.dataset import CondensedDataset
from condensed_data.device import choose_device, choose_precision
from condensed_data.evaluate import Evaluation, Training, accuracy, evaluate_tensors, quick
from condensed_data.real import Real
from condensed_data.record import Record
from condensed_data.source import SourceError, inspect

_USUAL = {1: "mlp", 2: "convnet1d", 3: "convnet"}


@dataclass(frozen=True)
class Row:
    """Accuracies of the networks trained on one kind of set, and the seconds that training one took."""

    name: str
    accuracies: tuple[float, ...]
    seconds: float
    eight_bit: tuple[float, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Networks trained for an equal number of steps on the condensed set, random subsets and the whole set.

    Attributes:
        condensed, random, whole: one network for each random subset.
        network: name of the architecture.
        training: the protocol of all of them, `max_steps` included.
        test_samples: real samples that they were tested on.
        epochs: passes over the condensed set; full_steps: steps that as many passes over the whole set are.
    """

    condensed: Row
    random: Row
    whole: Row
    network: str
    training: Training
    test_samples: int
    epochs: int
    full_steps: int

    @property
    def full_seconds(self) -> float:
        """Estimated seconds to train one network on the whole set for the epochs of the condensed set."""
        return self.whole.seconds / (self.training.max_steps or 1) * self.full_steps


def check(train: Any, test: Any, network: str | None) -> str:
    """Find out before a build whether it can be compared afterwards; returns the name of the network.

    Raises:
        SourceError: for samples that cannot be used, or of different shapes in the two splits.
        ValueError: for an unknown network, or one that cannot look at such samples.
    """
    shape, tested = inspect(train).kind.shape, inspect(test).kind.shape
    if shape != tested:
        raise SourceError(
            f"The train split has samples of shape {shape}, the test split {tested}. Bring both to one shape "
            "(--image-size N for images), or leave the comparison out with --no-evaluate."
        )
    name = network or _USUAL[len(shape)]
    networks.build(networks.network(name), 2, shape, 0)
    return name


def compare(
    condensed: CondensedDataset,
    train: Any,
    test: Any,
    *,
    network: str = "convnet",
    runs: int = 3,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    num_workers: int = 0,
    progress: bool = True,
) -> Comparison:
    """Train networks on the condensed set, on random subsets of the same size and on the whole set.

    Args:
        condensed: made from `train`; its record gains the evaluation.
        train, test: datasets of (sample, label) in one value space.
        network: a name.
        runs: networks on the condensed and on the whole set, and random subsets with one network each.

    Raises:
        SourceError: if the test set has another shape, other labels or another value space.
    """
    where = choose_device(device)
    how: dict[str, Any] = {
        "network": network,
        "device": where,
        "precision": choose_precision(precision, where),
    }
    protocol, record = quick(), condensed.record
    tested = Real.read(inspect(test), None, num_workers, progress)
    values = TensorDataset(_values(tested), tested.class_values[tested.labels])
    limited = replace(protocol, max_steps=protocol.steps(len(condensed)))
    first = condensed.evaluate(values, runs=runs, training=limited, seed=seed, progress=progress, **how)
    held = _standardised(tested, record)
    how |= {"training": first.training, "num_classes": len(record.classes), "progress": progress}
    whole = _standardised(Real.read(inspect(train), None, num_workers, progress), record)
    subsets = (_random_subset(*whole, record.ipc, seed + run) for run in range(runs))
    random = [
        evaluate_tensors(*subset, *held, runs=1, seed=seed + run, **how) for run, subset in enumerate(subsets)
    ]
    full = evaluate_tensors(*whole, *held, runs=runs, seed=seed, **how)
    test_seconds = _seconds_of_test(*held, how)
    return Comparison(
        _row(record.recipe_name, [first], test_seconds),
        _row("random", random, test_seconds),
        _row("whole set", [full], test_seconds),
        network,
        first.training,
        len(tested),
        protocol.started_epochs(len(condensed)),
        protocol.steps(len(whole[0])),
    )


def _values(real: Real) -> Tensor:
    """Samples (n, *shape) float32 in the source's value space."""
    return real.samples.float() / 255 if real.kind.is_pil else real.samples.float()


def _standardised(real: Real, record: Record) -> tuple[Tensor, Tensor]:
    """Samples (n, *shape) standardised, and labels (n,) numbered, as in the record."""
    numbers = torch.searchsorted(torch.tensor(record.class_values), real.class_values)
    return record.space.standardise(_values(real)), numbers[real.labels]


def _random_subset(images: Tensor, labels: Tensor, ipc: int, seed: int) -> tuple[Tensor, Tensor]:
    subset = CondensedDataset(
        TensorDataset(images, labels), recipes.random(ipc=ipc), seed=seed, device="cpu", progress=False
    )
    return subset.images, subset.labels


def _seconds_of_test(images: Tensor, labels: Tensor, how: Mapping[str, Any]) -> float:
    """What testing one network takes: `Evaluation.seconds` holds it, and it is no training."""
    build = networks.network(how["network"])
    module = networks.build(build, how["num_classes"], tuple(images.shape[1:]), 0).to(how["device"]).eval()
    started = time.perf_counter()
    accuracy(module, images, labels, precision=how["precision"])
    return time.perf_counter() - started


def _row(name: str, evaluations: Sequence[Evaluation], test_seconds: float) -> Row:
    accuracies = [value for evaluation in evaluations for value in evaluation.accuracies]
    eight_bit = [value for evaluation in evaluations for value in evaluation.eight_bit]
    seconds = sum(evaluation.seconds or 0.0 for evaluation in evaluations) / (
        len(accuracies) + len(eight_bit)
    )
    return Row(name, tuple(accuracies), max(seconds - test_seconds, 1e-9), tuple(eight_bit))


def made(condensed: CondensedDataset, directory: Path | None, grid: Path | None) -> str:
    """Text: what was condensed, its size before and after, the time it took, and where the result is."""
    record = condensed.record
    before, after = record.source_samples, len(condensed)
    numbers = math.prod(record.kind.shape)
    lines = {
        "samples": f"{before:,} -> {after:,} ({before / after:.3g} times fewer)",
        "8 bit": f"{_bytes(before * numbers)} -> {_bytes(after * numbers)}",
        "float32": f"{_bytes(4 * before * numbers)} -> {_bytes(4 * after * numbers)} (as stored)",
        "condensing": f"{_duration(record.seconds)}, {record.sweeps:,} sweeps",
        "saved in": str(directory) if directory else "nowhere; --out DIR keeps it",
    }
    if grid is not None:
        lines["image grid"] = str(grid)
    shape = "x".join(map(str, record.kind.shape))
    head = (
        f"{record.name} condensed by {record.recipe_name}: {record.ipc} samples ({shape}) for each of "
        f"{len(record.classes)} classes, seed {record.seed}"
    )
    return "\n".join([head, *_aligned(lines.items())])


def compared(comparison: Comparison) -> str:
    """Text: accuracies side by side under the name of their protocol, and the training time saved."""
    c = comparison
    head = f"Accuracy on {c.test_samples:,} test samples: {c.network}, {c.training.label} for every network"
    kinds = ((c.condensed, "networks"), (c.random, "subsets"), (c.whole, "networks"))
    rows = [(row.name, _accuracy(row, kind)) for row, kind in kinds]
    saved, step = 1 - c.condensed.seconds / c.full_seconds, 1000 * c.full_seconds / c.full_steps
    times = (
        f"Training one network for {c.epochs:,} epochs: {_duration(c.condensed.seconds)} on the condensed "
        f"set, about {_duration(c.full_seconds)} on the whole set,\n"
        f"estimated as {c.full_steps:,} steps of {step:.3g} ms: {_saving(saved)}"
    )
    return "\n".join([head, *_aligned(rows), times])


def _saving(saved: float) -> str:
    return f"{100 * saved:.1f} % of the time saved" if saved > 0 else "no time saved"


def _accuracy(row: Row, kind: str) -> str:
    text = f"{_percent(row.accuracies)} ({len(row.accuracies)} {kind})"
    return text + (f"; rounded to 8 bits {_percent(row.eight_bit)}" if row.eight_bit else "")


def _percent(accuracies: Sequence[float]) -> str:
    return f"{100 * statistics.fmean(accuracies):5.1f} % ± {100 * statistics.pstdev(accuracies):.1f}"


def _aligned(lines: Iterable[tuple[str, str]]) -> list[str]:
    listed = list(lines)
    width = max(len(name) for name, _ in listed)
    return [f"  {name:<{width}}  {text}" for name, text in listed]


def _bytes(count: int) -> str:
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.4g} {unit}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "no time, it was there"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
