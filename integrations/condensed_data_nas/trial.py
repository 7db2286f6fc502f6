"""Trains and tests the networks of one configuration, with reports that may stop the training early.

Letters: K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from condensed_data import networks
from condensed_data.core import spec as specs
from condensed_data.core.rng import RandomStreams
from condensed_data.training import batched_trainer
from condensed_data.training.compute import accuracy
from condensed_data.training.protocol import Training
from condensed_data.training.trainer import Trainer
from condensed_data_nas.recalibration import recalibrate
from condensed_data_nas.task import ProxyTask
from condensed_data_nas.trial_result import Result, count_parameters, measure_costs

# called with (epoch, accuracy in [0, 1] of the first network); an exception that it raises ends the trial
Reporter = Callable[[int, float], None]
# errors that mean that a configuration cannot be trained; torch raises a RuntimeError when out of memory
FAILURES = (ValueError, ArithmeticError, MemoryError, RuntimeError)


@dataclass(frozen=True)
class TrialConfig:
    """How the networks of every configuration are trained and tested; see `ProxyObjective`."""

    seeds: int
    precision: str
    report_every: int | None
    batched: bool | None
    recalibrate: bool = False


def run_trial(
    task: ProxyTask,
    options: TrialConfig,
    build: Callable[[], Any],
    config: dict[str, Any],
    training: Training,
    seed: int,
    report: Reporter | None,
) -> Result:
    """Train and test the networks of a configuration.

    Args:
        task: on the device.
        options: how to train and test.
        build: see `TrackedBuilder`.
        config: stored in the result.
        training: before data-dependent defaults are resolved.
        seed: of this configuration.
        report: see `ProxyObjective.measure`; without it only the end is tested.

    Raises:
        Exception: whatever `report` raises, and errors of `build` that are bugs.
    """
    builder = TrackedBuilder(build)
    try:
        with measure_costs(task.images.device) as costs:
            trainer = Trainer.prepare(
                task.images,
                task.labels,
                network=builder,
                num_classes=task.num_classes,
                training=specs.resolve(training, task.info),
                device=task.images.device,
                precision=options.precision,
            )
            monitor = _Monitor(task, options, trainer, report)
            values = _accuracies(monitor, builder, seed)
    except FAILURES as error:
        if isinstance(error, _StoppedByReport):
            raise error.reason from None
        raise_if_bug(error)
        return Result(config, error=failure_message(error), seconds=costs.seconds, peak_bytes=costs.peak_bytes)
    module = builder.latest
    metrics = (count_parameters(module), networks.flops(module, task.images[:1]), costs.peak_bytes)
    return Result(config, values, tuple(monitor.curve), costs.seconds, *metrics)


class _StoppedByReport(RuntimeError):
    """Carries what `report` raised past the handler of failures, which might count it as one."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class TrackedBuilder:
    """A callable (num_classes, sample_shape) -> Module that keeps the latest module accessible during training.

    `build` returns the network: a module, a name, a specification or such a callable.
    """

    latest: nn.Module

    def __init__(self, build: Callable[[], Any]) -> None:
        self.build = build

    def __call__(self, num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
        network = self.build()
        if not isinstance(network, nn.Module):
            network = networks.network(network)(num_classes, sample_shape)
        self.latest = network
        return network


class _Monitor:
    """Tests the first network after some epochs, by default ten in all, and the last; reports its accuracy."""

    def __init__(self, task: ProxyTask, options: TrialConfig, trainer: Trainer, report: Reporter | None) -> None:
        self.task, self.options, self.trainer, self.report = task, options, trainer, report
        self.curve: list[tuple[int, float]] = []
        last, every = trainer.training.started_epochs(len(trainer.images)), options.report_every
        self.epochs = {last}
        if report is not None or every is not None:
            step = every or max(1, math.ceil(last / 10))
            self.epochs.update(range(step, last, step))

    def __call__(self, epoch: int, module: nn.Module) -> None:
        if epoch not in self.epochs:
            return
        value = self.accuracy(module)
        self.curve.append((epoch, value))
        try:
            if self.report is not None:
                self.report(epoch, value)
        except Exception as reason:
            raise _StoppedByReport(reason) from None

    def accuracy(self, module: nn.Module) -> float:
        """Validation accuracy of a network during or after training."""
        if self.options.recalibrate:
            training = module.training
            recalibrate(module.eval(), self.task.images, self.trainer.training.batch_size, self.options.precision)
            module.train(training)
        return accuracy(module, self.task.val_images, self.task.val_labels, precision=self.options.precision)[0]


def _accuracies(monitor: _Monitor, builder: TrackedBuilder, seed: int) -> tuple[float, ...]:
    """Accuracy of every network; the monitor has tested the first one after its last epoch."""
    options, trainer = monitor.options, monitor.trainer
    rngs = [RandomStreams(RandomStreams(seed).seed_for("run", run)) for run in range(options.seeds)]
    batched = options.batched
    if batched is None:
        batched = batched_trainer.should_batch(trainer, options.seeds)
    if batched and options.seeds > 1:
        modules = batched_trainer.fit(trainer, rngs, monitor)
    else:
        modules = [trainer.fit(rngs[0], lambda epoch: monitor(epoch, builder.latest))]
        modules += [trainer.fit(rng) for rng in rngs[1:]]
    return (monitor.curve[-1][1], *map(monitor.accuracy, modules[1:]))


def raise_if_bug(error: BaseException) -> None:
    """Raise an error of build_model that is a bug, which the trainer wraps in an error about the network."""
    if isinstance(error.__cause__, Exception) and not isinstance(error.__cause__, FAILURES):
        raise error.__cause__ from None


def failure_message(error: BaseException) -> str:
    """Why a configuration failed, in one line."""
    if isinstance(error, ValueError) and isinstance(error.__cause__, FAILURES):
        error = error.__cause__  # the wrapper names the callable that failed, which is always TrackedBuilder
    out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
    kind = "out of memory" if out_of_memory else type(error).__name__
    return f"{kind}: {' '.join(str(error).split())}"
