"""Trains and tests the networks of one configuration, with reports that may stop the training early.

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from condensed_data import networks
from condensed_data.core.rng import RandomStreams
from condensed_data.training import batched_trainer
from condensed_data.training.compute import accuracy
from condensed_data.training.protocol import Training
from condensed_data.training.trainer import Trainer
from condensed_data_nas.recalibration import recalibrate
from condensed_data_nas.task import ProxyTask, report_epochs, resolve_training
from condensed_data_nas.trial_result import CostMeter, Result, count_parameters

# called with (epoch, accuracy in [0, 1] of the first network); an exception that it raises ends the trial
Reporter = Callable[[int, float], None]
# errors that mean that a configuration cannot be trained; torch raises a RuntimeError when out of memory
FAILURES = (ValueError, ArithmeticError, MemoryError, RuntimeError)


@dataclass(frozen=True)
class TrialConfig:
    """How the networks of every configuration are trained and tested.

    Attributes:
        seeds: networks per configuration.
        precision: "fp32" or "bf16".
        report_every: epochs between two tests of the first network; None for ten tests.
        batched: train the networks of a configuration together; None for whichever is faster.
        recalibrate: give batch normalizations the statistics of the final weights, see `recalibration`.
    """

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
        build: returns the network: a module, a name, a specification or a callable (num_classes, sample_shape) ->
            Module.
        config: stored in the result.
        training: before data-dependent defaults are resolved.
        seed: of this configuration.
        report: called with the accuracy of the first network after some epochs; without it only the end is tested.

    Raises:
        Exception: whatever `report` raises; errors of `build` that are bugs, unlike a configuration that cannot be
            trained.
    """
    builder, curve = TrackedBuilder(build), list[tuple[int, float]]()
    try:
        with CostMeter(task.images.device) as costs:
            trainer = Trainer.prepare(
                task.images,
                task.labels,
                network=builder,
                num_classes=task.num_classes,
                training=resolve_training(training, task),
                device=task.images.device,
                precision=options.precision,
            )
            monitor = _Monitor(task, options, trainer, curve, report)
            values = _accuracies(task, options, trainer, builder, seed, monitor)
    except FAILURES as error:
        if isinstance(error, _StoppedByReport):
            raise error.reason from None
        raise_if_bug(error)
        return Result(config, error=failure_message(error), seconds=costs.seconds, peak_bytes=costs.peak_bytes)
    module = builder.latest
    metrics = (count_parameters(module), networks.flops(module, task.images[:1]), costs.peak_bytes)
    return Result(config, values, tuple(curve), costs.seconds, *metrics)


class _StoppedByReport(RuntimeError):
    """Carries what `report` raised past the handler of failures, which might count it as one."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class TrackedBuilder:
    """A callable (num_classes, sample_shape) -> Module that keeps the latest module accessible during training.

    Args:
        build: returns the network: a module, a name, a specification or such a callable.

    Attributes:
        latest: the module built last.
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
    """Tests the first network after some epochs, and reports its accuracy."""

    def __init__(
        self,
        task: ProxyTask,
        options: TrialConfig,
        trainer: Trainer,
        curve: list[tuple[int, float]],
        report: Reporter | None,
    ) -> None:
        self.task, self.options, self.trainer, self.curve, self.report = task, options, trainer, curve, report
        last = trainer.training.started_epochs(len(trainer.images))
        needs_curve = report is not None or options.report_every is not None
        self.epochs = report_epochs(last, options.report_every) if needs_curve else frozenset({last})

    def __call__(self, epoch: int, module: nn.Module) -> None:
        if epoch not in self.epochs:
            return
        value = _accuracy(self.task, self.options, self.trainer, module)
        self.curve.append((epoch, value))
        try:
            if self.report is not None:
                self.report(epoch, value)
        except Exception as reason:
            raise _StoppedByReport(reason) from None


def _accuracies(
    task: ProxyTask,
    options: TrialConfig,
    trainer: Trainer,
    builder: TrackedBuilder,
    seed: int,
    monitor: _Monitor,
) -> tuple[float, ...]:
    """Accuracy of every network; the monitor has tested the first one after its last epoch."""
    rngs = [RandomStreams(RandomStreams(seed).seed_for("run", run)) for run in range(options.seeds)]
    batched = options.batched
    if batched is None:
        batched = batched_trainer.should_batch(trainer, options.seeds)
    if batched and options.seeds > 1:
        modules = batched_trainer.fit(trainer, rngs, monitor)
    else:
        modules = [trainer.fit(rngs[0], lambda epoch: monitor(epoch, builder.latest))]
        modules += [trainer.fit(rng) for rng in rngs[1:]]
    others = (_accuracy(task, options, trainer, module) for module in modules[1:])
    return (monitor.curve[-1][1], *others)


def _accuracy(task: ProxyTask, options: TrialConfig, trainer: Trainer, module: nn.Module) -> float:
    """Validation accuracy of a network during or after training."""
    if options.recalibrate:
        training = module.training
        recalibrate(module.eval(), task.images, trainer.training.batch_size, options.precision)
        module.train(training)
    return accuracy(module, task.val_images, task.val_labels, precision=options.precision)[0]


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
