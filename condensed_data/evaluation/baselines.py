"""How good a condensed set is beside what it replaces, in training steps that are equal for all.

Networks are trained on the condensed set, on random subsets of the same size and on the whole set, all for
the same number of steps of the quick protocol, and tested on the source's test split. Where these steps draw
less than the whole set, a random part of as many samples is read.

Letters: N samples of a set, n of the whole source.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from condensed_data import networks
from condensed_data.core import spec as specs
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DatasetInfo
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect, read
from condensed_data.dataset import CondensedDataset
from condensed_data.methods import recipes
from condensed_data.storage.metadata import Metadata
from condensed_data.training.evaluate import Evaluation, Training, accuracy, evaluate_tensors, quick

MOST_BYTES = 1 << 30  # of the samples of the whole set that are held to train on


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
        own: how networks were trained on a condensed set that depends on its order; empty for most sets.
    """

    condensed: Row
    random: Row
    whole: Row
    network: str
    training: Training
    test_samples: int
    epochs: int
    full_steps: int
    own: str = ""

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
    name = network or networks.default_name(shape)
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

    A set that depends on its order is trained on by its own steps, with the network that it was learned for.

    Args:
        condensed: made from `train`; its record gains the evaluation, and those of what it is compared with.
        train, test: datasets of (sample, label) in one value space.
        network: a name.
        runs: networks on the condensed and on the whole set, and random subsets with one network each.

    Raises:
        SourceError: if the test set has another shape, other labels or another value space.
    """
    where = choose_device(device)
    how: dict[str, Any] = {"network": network, "device": where, "progress": progress}
    how["precision"] = choose_precision(precision, where)
    metadata, protocol = condensed.metadata, quick()
    steps = protocol.steps(len(condensed))
    tested = values(test, num_workers, progress)
    named = metadata.classes != tuple(map(str, metadata.class_values))
    facts = DatasetInfo(metadata.kind.shape, metadata.classes, metadata.ipc, named)
    training = specs.resolve(replace(protocol, max_steps=steps), facts)
    own: dict[str, Any] = {"training": training}
    if condensed.replay is not None:
        own = {"network": None, "precision": precision}  # "auto" is what its steps were learned in
    first = condensed.evaluate(TensorDataset(*tested), runs=runs, seed=seed, **{**how, **own})
    how |= {"training": training, "num_classes": len(metadata.classes)}
    held = standardized(*tested, metadata)
    part, title = seen(train, steps * protocol.batch_size, metadata, seed)
    whole = standardized(*values(part, num_workers, progress), metadata)
    random = [
        evaluate_tensors(*random_subset(*whole, metadata.ipc, number), *held, runs=1, seed=number, **how)
        for number in range(seed, seed + runs)
    ]
    full = evaluate_tensors(*whole, *held, runs=runs, seed=seed, **how)
    condensed.compare_with({"random": _together(random), title: full})
    test_seconds = _seconds_of_test(*held, how)
    return Comparison(
        _row(metadata.recipe_name, [first], test_seconds),
        _row("random", random, test_seconds),
        _row(title, [full], test_seconds),
        network,
        training,
        len(held[1]),
        protocol.started_epochs(len(condensed)),
        protocol.steps(len(train)),
        "" if condensed.replay is None else f"{first.network} by its {len(condensed.replay.sizes)} own steps",
    )


def seen(train: Any, most: int, metadata: Metadata, seed: int) -> tuple[Any, str]:
    """What so many draws see of the whole set, within `MOST_BYTES`, and what to call it."""
    fit = MOST_BYTES // (4 * math.prod(metadata.kind.shape))
    if len(train) <= min(most, fit):
        return train, "whole set"
    order = torch.randperm(len(train), generator=RandomStreams(seed).torch("seen"))
    chosen = Subset(train, order[: min(most, fit)].sort().values.tolist())
    return chosen, "whole set" if most <= fit else f"{fit:,} of the whole set"


def values(dataset: Any, num_workers: int, progress: bool) -> tuple[Tensor, Tensor]:
    """Samples (n, *shape) float32 in the source's value space, and labels (n,) in its own values."""
    source = inspect(dataset)
    reading = read(source, num_workers, progress)
    rows = reading.store[torch.arange(len(reading.labels))].float()
    return rows / 255 if source.kind.is_pil else rows, reading.labels


def standardized(values: Tensor, labels: Tensor, metadata: Metadata) -> tuple[Tensor, Tensor]:
    """Samples (n, *shape) standardized, and labels (n,) numbered, as in the record."""
    return metadata.space.standardize(values), torch.searchsorted(torch.tensor(metadata.class_values), labels)


def random_subset(images: Tensor, labels: Tensor, ipc: int, seed: int) -> tuple[Tensor, Tensor]:
    """`ipc` random samples of each class, as the recipe `random` draws them."""
    dataset, recipe = TensorDataset(images, labels), recipes.random(ipc=ipc)
    subset = CondensedDataset(dataset, recipe, cache=False, seed=seed, device="cpu", progress=False)
    return subset.images, torch.tensor(subset.targets)


def _seconds_of_test(images: Tensor, labels: Tensor, how: Mapping[str, Any]) -> float:
    """What testing one network takes: `Evaluation.seconds` holds it, and it is no training."""
    build = networks.network(how["network"])
    module = networks.build(build, how["num_classes"], tuple(images.shape[1:]), 0).to(how["device"]).eval()
    started = time.perf_counter()
    accuracy(module, images, labels, precision=how["precision"])
    return time.perf_counter() - started


def _together(evaluations: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of all the networks, which were trained by one protocol."""

    def all_of(field: str) -> tuple[float, ...]:
        return tuple(value for evaluation in evaluations for value in getattr(evaluation, field))

    per_class = (
        None if None in values else statistics.fmean(values)
        for values in zip(*(evaluation.per_class for evaluation in evaluations), strict=True)
    )
    return replace(
        evaluations[0],
        accuracies=all_of("accuracies"),
        per_class=tuple(per_class),
        eight_bit=all_of("eight_bit"),
    )


def _row(name: str, evaluations: Sequence[Evaluation], test_seconds: float) -> Row:
    accuracies = [value for evaluation in evaluations for value in evaluation.accuracies]
    eight_bit = [value for evaluation in evaluations for value in evaluation.eight_bit]
    total = sum(evaluation.seconds or 0.0 for evaluation in evaluations)
    seconds = total / (len(accuracies) + len(eight_bit))
    return Row(name, tuple(accuracies), max(seconds - test_seconds, 1e-9), tuple(eight_bit))
