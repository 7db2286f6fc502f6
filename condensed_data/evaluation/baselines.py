"""Compares a condensed dataset with random subsets and the full dataset at equal training steps.

Networks are trained on the condensed samples, on random subsets of the same size and on the full dataset, all for the
same number of steps of the quick protocol, and tested on the source's test split.

Letters: n samples of the full dataset.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from condensed_data import networks
from condensed_data.core import spec as specs
from condensed_data.core.annotations import Count, Natural, checked
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.spec import DatasetInfo
from condensed_data.core.torch_settings import own_settings
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect
from condensed_data.engine.evaluate import class_names, evaluate, standardized
from condensed_data.evaluation.real_data import evaluate_random_subsets, in_memory, training_part
from condensed_data.storage.interfaces import EvaluationRecorder
from condensed_data.storage.metadata import Metadata
from condensed_data.training.compute import accuracy
from condensed_data.training.evaluate import evaluate_tensors
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import quick


@dataclass(frozen=True)
class ComparisonRow:
    """Accuracies of the networks trained on one dataset.

    Attributes:
        name: of the dataset.
        accuracies: one per network, fractions.
        seconds: to train one network.
        eight_bit: accuracies with samples rounded to 8 bits, if that was measured.
    """

    name: str
    accuracies: tuple[float, ...]
    seconds: float
    eight_bit: tuple[float, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Networks trained for an equal number of steps on condensed samples, random subsets and the full dataset.

    Attributes:
        condensed: networks trained on the condensed samples.
        random: one network for each random subset.
        whole: networks trained on the full dataset.
        network: name of the architecture.
        training: the protocol of all of them, `max_steps` included.
        test_samples: number of real samples that they were tested on.
        epochs: passes over the condensed samples.
        full_steps: steps of as many passes over the full dataset.
        own: how networks were trained on an order-dependent dataset; empty for most datasets.
    """

    condensed: ComparisonRow
    random: ComparisonRow
    whole: ComparisonRow
    network: str
    training: Training
    test_samples: int
    epochs: int
    full_steps: int
    own: str = ""

    @property
    def full_seconds(self) -> float:
        """Estimated seconds to train one network on the full dataset for the epochs of the condensed one."""
        return self.whole.seconds / (specs.require_resolved(self.training.max_steps) or 1) * self.full_steps


@own_settings()
def check_splits(train: Any, test: Any, network: str | None, num_workers: int = 0) -> str:
    """Check before a build that its result can be compared; returns the name of the network.

    Raises:
        SourceError: for samples that cannot be used, or of different shapes in the two splits.
        ValueError: for an unknown network, or one that does not accept such samples.
    """
    shape, test_shape = (inspect(split, num_workers).kind.shape for split in (train, test))
    if shape != test_shape:
        raise SourceError(
            f"The train split has samples of shape {shape}, the test split {test_shape}. Bring both to one shape "
            "(--image-size N for images), or skip the comparison with --no-evaluate."
        )
    name = network or networks.default_name(shape)
    networks.build(networks.network(name), 2, shape, 0)
    return name


@own_settings()
@checked
def compare(
    condensed: EvaluationRecorder,
    train: Any,
    test: Any,
    *,
    network: str = "convnet",
    runs: Count = 3,
    seed: Natural = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    num_workers: Natural = 0,
    progress: bool = True,
) -> Comparison:
    """Train networks on condensed samples, on random subsets of the same size and on the full dataset.

    On an order-dependent dataset, the network that it was condensed for is trained by the dataset's schedule.

    Args:
        condensed: a `CondensedDataset` made from `train`; its metadata gains all accuracies measured here.
        train, test: datasets of (sample, label) in one value space.
        network: a name.
        runs: networks trained on the condensed samples, on the full dataset, and on one random subset each.
        seed: of networks and subsets.
        device, precision, num_workers, progress: see `CondensedDataset`.

    Raises:
        SourceError: if the test set has another shape, other labels or another value space.
    """
    torch_device, metadata = choose_device(device), condensed.metadata
    options: dict[str, Any] = {
        "network": network,
        "device": torch_device,
        "precision": choose_precision(precision, torch_device),
        "progress": progress,
    }
    training, epochs, full_steps = _protocol(metadata, len(condensed.labels), len(train))
    steps = specs.require_resolved(training.max_steps) or 1
    test = in_memory(test, num_workers, progress)
    own: dict[str, Any] = {"training": training}
    if condensed.replay is not None:
        own = {"network": None, "precision": precision}  # "auto" is the precision of its own steps
    first = evaluate(condensed, test, runs=runs, seed=seed, **(options | own))
    options |= {"training": training, "num_classes": len(metadata.classes)}
    test_data = standardized(metadata, "test", test, 0, False)
    part, title = training_part(train, steps * training.batch_size, metadata, seed)
    full_data = standardized(metadata, "train", part, num_workers, progress)
    random = _joined(evaluate_random_subsets(full_data, test_data, metadata.ipc, runs, seed, **options))
    full = evaluate_tensors(*full_data, *test_data, runs=runs, seed=seed, **options)
    condensed.add_evaluation(first)
    condensed.add_baselines({"random": random, title: full})
    test_seconds = _test_seconds(*test_data, options)
    return Comparison(
        _row(metadata.recipe_name, first, test_seconds),
        _row("random", random, test_seconds),
        _row(title, full, test_seconds),
        network,
        training,
        len(test_data[1]),
        epochs,
        full_steps,
        "" if condensed.replay is None else f"{first.network} by its {len(condensed.replay.sizes)} own steps",
    )


def _protocol(metadata: Metadata, samples: int, full_samples: int) -> tuple[Training, int, int]:
    """The quick protocol with its number of steps, their epochs, and the steps of these epochs on the full dataset."""
    protocol = quick()
    named = class_names(metadata) is not None
    info = DatasetInfo(metadata.kind.shape, metadata.classes, metadata.ipc, named)
    training = specs.resolve(replace(protocol, max_steps=protocol.steps(samples)), info)
    return training, protocol.started_epochs(samples), protocol.steps(full_samples)


def _test_seconds(images: Tensor, labels: Tensor, options: Mapping[str, Any]) -> float:
    """Seconds to test one network, which `Evaluation.seconds` includes."""
    network, shape = networks.network(options["network"]), tuple(images.shape[1:])
    module = networks.build(network, options["num_classes"], shape, 0).to(options["device"]).eval()
    started = time.perf_counter()
    accuracy(module, images, labels, precision=options["precision"])
    return time.perf_counter() - started


def _joined(evaluations: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of all the networks, which were trained by one protocol."""
    per_class = (
        None if None in values else statistics.fmean(values)
        for values in zip(*(evaluation.per_class for evaluation in evaluations), strict=True)
    )
    return replace(
        evaluations[0],
        accuracies=tuple(value for evaluation in evaluations for value in evaluation.accuracies),
        per_class=tuple(per_class),
        seconds=sum(evaluation.seconds or 0.0 for evaluation in evaluations),
    )


def _row(name: str, evaluation: Evaluation, test_seconds: float) -> ComparisonRow:
    seconds = (evaluation.seconds or 0.0) / (len(evaluation.accuracies) + len(evaluation.eight_bit))
    return ComparisonRow(name, evaluation.accuracies, max(seconds - test_seconds, 1e-9), evaluation.eight_bit)
