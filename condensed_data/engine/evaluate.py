"""Evaluates condensed samples: trains networks on them by a protocol and tests these networks on real samples.

Letters: N condensed samples, n real samples, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from math import prod
from typing import Any, TypedDict

import torch
from torch import Tensor

from condensed_data import networks
from condensed_data.core.annotations import Count, Natural, checked
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import preserve_rng_state
from condensed_data.core.torch_settings import own_settings
from condensed_data.data.real import RealData
from condensed_data.data.sample import SourceError
from condensed_data.data.sample_store import require_memory
from condensed_data.data.source import inspect
from condensed_data.engine.evaluate_replay import evaluate_replay
from condensed_data.methods.replay import TrainingSchedule
from condensed_data.networks import NetworkLike
from condensed_data.storage.interfaces import CondensedSamples
from condensed_data.storage.metadata import Metadata
from condensed_data.training.evaluate import evaluate_tensors
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.protocol import OrderedTraining, Training
from condensed_data.training.protocols import protocol


class EvaluateKwargs(TypedDict, total=False):
    """Keyword arguments of `evaluate`, for methods that pass them on."""

    training: str | Training | OrderedTraining | None
    initial: Any
    seed: int
    device: str | torch.device | None
    precision: str
    num_workers: int
    progress: bool
    executor: Executor | None


@own_settings()
@checked
def evaluate(
    condensed: CondensedSamples,
    test_set: Any,
    network: NetworkLike | None = None,
    runs: Count = 5,
    *,
    training: str | Training | OrderedTraining | None = None,
    initial: Any = None,
    seed: Natural = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    num_workers: Natural = 0,
    progress: bool = True,
    executor: Executor | None = None,
) -> Evaluation:
    """Train new networks on condensed samples and test them on real ones.

    Args:
        condensed: N samples; nothing is recorded in their metadata.
        test_set, network, runs: see `CondensedDataset.evaluate`.
        training: a protocol or its name ("dsa", "idc", see `condensed_data.training.protocols`); by default the one in
            the metadata. Learned scores are regressed on by a protocol with that loss ("frepo"); others train on their
            classes.
        initial: for an order-dependent dataset: weights to start from, a state dictionary or a list of them.
        seed: of the networks.
        device, num_workers, progress: see `CondensedDataset`.
        precision: likewise; "auto" repeats the training steps of an order-dependent dataset in the precision that they
            were learned in.
        executor: trains the networks, each in a process of its own: any `concurrent.futures.Executor` of processes.

    Returns:
        Mean and standard deviation of the accuracy as fractions; for 8-bit sources also for rounded samples.

    Raises:
        SourceError: if the test set has another shape, other labels or another value space.
        ValueError: for arguments that do not fit each other or the condensed samples.
    """
    torch_device, schedule = choose_device(device), schedule_for(condensed, training, initial)
    torch_precision, metadata = choose_precision(precision, torch_device), condensed.metadata
    if schedule is not None and precision == "auto":
        torch_precision = metadata.environment.get("precision", torch_precision)
    if schedule is not None and executor is not None:
        raise ValueError(
            "executor= trains networks in parallel, but an order-dependent dataset has only a few training steps of "
            "its own, which run in this process. Omit executor=."
        )
    with preserve_rng_state():
        test = standardized(metadata, "test_set", test_set, num_workers, progress)
        samples = (metadata.space.standardize(condensed.images), training_labels(condensed, training), *test)
        options: dict[str, Any] = {
            "runs": runs,
            "seed": seed,
            "device": torch_device,
            "precision": torch_precision,
            "progress": progress,
            "num_classes": len(metadata.classes),
        }
        if metadata.kind.eight_bit:
            options["eight_bit"] = metadata.space.standardize(metadata.kind.round_to_8_bits(condensed.images))
        if schedule is not None:
            return evaluate_replay(*samples, replay=schedule, network=network, initial=initial, **options)
        chosen = metadata.training if training is None else training
        assert not isinstance(chosen, OrderedTraining)  # `schedule_for` refuses it
        return evaluate_tensors(
            *samples,
            network=networks.default_name(metadata.kind.shape) if network is None else network,
            training=chosen,
            classes=class_names(metadata),
            executor=executor,
            **options,
        )


def training_labels(condensed: CondensedSamples, training: str | Training | OrderedTraining | None) -> Tensor:
    """The labels that a protocol trains on: (N,) classes, or (N, K) as stored.

    Scores are regressed on; a protocol with another loss trains on their classes.
    """
    chosen = condensed.metadata.training if training is None else training
    regresses = not isinstance(chosen, OrderedTraining) and protocol(chosen).loss == "squared_error"
    return condensed.labels if condensed.metadata.label_kind != "scores" or regresses else condensed.class_indices


def schedule_for(condensed: CondensedSamples, training: object, initial: object) -> TrainingSchedule | None:
    """The training steps that an evaluation repeats, or None if it trains by a protocol instead.

    Raises:
        ValueError: for initial weights that would not be used, or steps that the dataset does not have.
    """
    schedule = condensed.replay if training is None or isinstance(training, OrderedTraining) else None
    if schedule is None and isinstance(training, OrderedTraining):
        raise ValueError(
            "training=OrderedTraining() repeats a dataset's own training steps, but this dataset has none. Give "
            "training= a Training, such as 'dsa'."
        )
    if schedule is None and initial is not None:
        raise ValueError("initial= is only used with a dataset's own training steps. Omit initial= or training=.")
    return schedule


def class_names(metadata: Metadata) -> tuple[str, ...] | None:
    """The names of the classes, or None if the source has none, so that they are just the label values."""
    unnamed = metadata.source_classes is None and metadata.classes == tuple(map(str, metadata.class_values))
    return None if unnamed else metadata.classes


@own_settings()
def standardized(
    metadata: Metadata, name: str, dataset: Any, num_workers: int, progress: bool
) -> tuple[Tensor, Tensor]:
    """Real samples as networks receive them.

    Args:
        metadata: of the condensed samples.
        name: of `dataset`, for error messages.
        dataset: real samples of the source's kind and value space.
        num_workers, progress: see `CondensedDataset`.

    Returns:
        Standardized samples (n, *sample) and class indices (n,).

    Raises:
        SourceError: for samples of another shape, with other labels or in another value space.
        TooLargeError: for more samples than fit into memory.
    """
    with _called(name):
        source = inspect(dataset, num_workers)
    if source.kind.shape != metadata.kind.shape:
        raise SourceError(
            f"{name} has samples of shape {source.kind.shape}, but the condensed samples have shape "
            f"{metadata.kind.shape}. Resize those of {name}."
        )
    require_memory(
        2 * 4 * len(source) * prod(source.kind.shape),
        f"{name} has {len(source):,} samples of shape {source.kind.shape}",
        "Use a part of them, such as torch.utils.data.Subset",
    )
    with _called(name):
        real = RealData.read(source, None, progress)
    samples = real.all_samples()
    check_value_space(metadata, name, samples)
    _check_names(metadata, name, real)
    labels = _class_indices(metadata, name, real.class_values[real.labels])
    return metadata.space.standardize(samples), labels


@contextmanager
def _called(name: str) -> Iterator[None]:
    """Begin the errors of a dataset with its name, because they call it "source"."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error


def check_value_space(metadata: Metadata, name: str, samples: Tensor) -> None:
    """Raise SourceError for real samples (n, *sample) that are not in the value space of condensed ones."""
    scaled = metadata.space.scale(samples)
    mean, std = float(scaled.mean()), float(scaled.std())
    if abs(mean) > 0.75 or not 0.5 < std < 2:
        raise SourceError(
            f"{name} is in another value space: standardized like the condensed samples, it has mean {mean:.2f} and "
            f"standard deviation {std:.2f} instead of 0 and 1. Apply the transforms that the source had (its mean is "
            f"{metadata.space.mean.mean():.4g}, its standard deviation {metadata.space.std.mean():.4g})."
        )
    if samples.dim() == 4 and samples.shape[1] == 3:
        _check_channel_order(metadata, name, samples)


def _check_channel_order(metadata: Metadata, name: str, samples: Tensor) -> None:
    """Recognize BGR images by their channel means: as read they are off, in the other order they fit.

    Natural images differ enough (0.18 standard deviations on CIFAR-10, 0.35 on ImageNet); a brighter or darker test
    set is off in either order.
    """
    off, reversed_off = (
        float(metadata.space.scale(images).mean((0, 2, 3)).abs().max()) for images in (samples, samples.flip(1))
    )
    if off > 0.15 and reversed_off < off / 4:
        raise SourceError(
            f"{name} seems to have its channels in reverse order (BGR instead of RGB): their means differ from those "
            f"of the source by up to {off:.2f} standard deviations, in reverse order by {reversed_off:.2f}. Reverse "
            "the channels, image[[2, 1, 0]]."
        )


def _check_names(metadata: Metadata, name: str, real: RealData) -> None:
    """Refuse a test set that calls another label by the name of a class, such as a folder with fewer classes."""
    if not real.named or class_names(metadata) is None:
        return
    known = dict(zip(metadata.classes, metadata.class_values, strict=True))
    for value, label_name in zip(real.class_values.tolist(), real.class_names, strict=True):
        if known.get(label_name, value) != value and metadata.classes.count(label_name) == 1:
            raise SourceError(
                f"{name} calls its label {value} {label_name!r}, but in the source {label_name!r} is label "
                f"{known[label_name]}. Map the labels of {name} to those of the source, for example with its "
                "target_transform=."
            )


def _class_indices(metadata: Metadata, name: str, values: Tensor) -> Tensor:
    """(n,) class indices of the source's own labels (n,)."""
    known = torch.tensor(metadata.class_values)
    labels = torch.searchsorted(known, values).clamp_max(len(known) - 1)
    if not torch.equal(known[labels], values):
        unknown = sorted(set(values.tolist()) - set(metadata.class_values))[:5]
        raise SourceError(f"{name} has labels that the source did not have: {unknown}. Remove those samples.")
    return labels
