"""Training the networks of one configuration, with a word after every few epochs to whoever may stop it.

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
from condensed_data.training import batched_trainer as together
from condensed_data.training.compute import accuracy
from condensed_data.training.protocol import Training
from condensed_data.training.trainer import Trainer
from condensed_data_nas import trial_result as trial_result
from condensed_data_nas.recalibration import recalibrate
from condensed_data_nas.task import ProxyTask, reports, resolved
from condensed_data_nas.trial_result import CostMeter, Result

# (epoch, accuracy in [0, 1] of the first network): may raise, which ends the trial
Report = Callable[[int, float], None]
FAILURES = (
    ValueError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
)  # out of memory is a RuntimeError of torch's


@dataclass(frozen=True)
class TrialConfig:
    """How the networks of every configuration are trained.

    Attributes:
        seeds: networks of each.
        precision: "fp32" or "bf16".
        report_every: epochs between two tests of the first network; None for ten tests.
        batched: whether the networks of a configuration are trained together; None where that is faster.
        recalibrate: whether batch normalizations get the statistics of the final weights, see `recalibration`.
    """

    seeds: int
    precision: str
    report_every: int | None
    batched: bool | None
    recalibrate: bool = False


def fit(
    task: ProxyTask,
    plan: TrialConfig,
    build: Callable[[], Any],
    config: dict[str, Any],
    training: Training,
    seed: int,
    report: Report | None,
) -> Result:
    """Train and test the networks of a configuration.

    Args:
        task: on the device.
        build: the network: a module, a name, a specification or a callable (num_classes, sample_shape) -> Module.
        config: for the result.
        training: not resolved.
        seed: of this configuration.
        report: called with the accuracy of the first network after some epochs; without it only the end is tested.

    Raises:
        Exception: whatever `report` raises; what is a bug, not a configuration that cannot be trained.
    """
    trainee, curve = TrackedBuilder(build), list[tuple[int, float]]()
    try:
        with CostMeter(task.images.device) as costs:
            trainer = Trainer.prepare(
                task.images,
                task.labels,
                network=trainee,
                num_classes=task.classes,
                training=resolved(training, task),
                device=task.images.device,
                precision=plan.precision,
            )
            values = _values(task, plan, trainer, trainee, seed, _Watch(task, plan, trainer, curve, report))
    except FAILURES as error:
        if isinstance(error, _Stopped):
            raise error.reason from None
        raise_bug(error)
        return Result(config, error=message(error), seconds=costs.seconds, peak_bytes=costs.peak_bytes)
    module = trainee.latest
    facts = (trial_result.parameters(module), networks.flops(module, task.images[:1]), costs.peak_bytes)
    return Result(config, values, tuple(curve), costs.seconds, *facts)


class _Stopped(RuntimeError):
    """What `report` raised, on its way out: it may be of a kind that would count as a failure."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class TrackedBuilder:
    """Builds the network, and keeps the latest one in reach while the core trains it.

    Args:
        build: the network: a module, a name, a specification or a callable (num_classes, sample_shape) -> Module.
    """

    latest: nn.Module

    def __init__(self, build: Callable[[], Any]) -> None:
        self.build = build

    def __call__(self, num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
        made = self.build()
        if not isinstance(made, nn.Module):
            made = networks.network(made)(num_classes, sample_shape)
        self.latest = made
        return made


class _Watch:
    """Tests the first network after some epochs."""

    def __init__(
        self,
        task: ProxyTask,
        plan: TrialConfig,
        trainer: Trainer,
        curve: list[tuple[int, float]],
        report: Report | None,
    ) -> None:
        self.task, self.plan, self.trainer, self.curve, self.report = task, plan, trainer, curve, report
        last = trainer.training.started_epochs(len(trainer.images))
        asked = report is not None or plan.report_every is not None  # else the end is all that anyone wants
        self.epochs = reports(last, plan.report_every) if asked else frozenset({last})

    def __call__(self, epoch: int, module: nn.Module) -> None:
        if epoch not in self.epochs:
            return
        value = _tested(self.task, self.plan, self.trainer, module)
        self.curve.append((epoch, value))
        try:
            if self.report is not None:
                self.report(epoch, value)
        except Exception as reason:
            raise _Stopped(reason) from None


def _values(
    task: ProxyTask, plan: TrialConfig, trainer: Trainer, trainee: TrackedBuilder, seed: int, watch: _Watch
) -> tuple[float, ...]:
    """Accuracy of every network; the first one is watched, and was tested after its last epoch."""
    rng = [RandomStreams(RandomStreams(seed).seed_for("run", run)) for run in range(plan.seeds)]
    stacked = together.should_batch(trainer, plan.seeds) if plan.batched is None else plan.batched
    if stacked and plan.seeds > 1:
        modules = together.fit(trainer, rng, watch)
    else:
        modules = [trainer.fit(rng[0], lambda epoch: watch(epoch, trainee.latest))]
        modules += [trainer.fit(one) for one in rng[1:]]
    others = (_tested(task, plan, trainer, module) for module in modules[1:])
    return (watch.curve[-1][1], *others)


def _tested(task: ProxyTask, plan: TrialConfig, trainer: Trainer, module: nn.Module) -> float:
    """Accuracy of a network, in training or trained."""
    if plan.recalibrate:
        training = module.training
        recalibrate(module.eval(), task.images, trainer.training.batch_size, plan.precision)
        module.train(training)
    return accuracy(module, task.val_images, task.val_labels, precision=plan.precision)[0]


def raise_bug(error: BaseException) -> None:
    """Raise what was a bug in build_model, which the core wraps in an error about the network."""
    if isinstance(error.__cause__, Exception) and not isinstance(error.__cause__, FAILURES):
        raise error.__cause__ from None


def message(error: BaseException) -> str:
    """Why a configuration failed, in one line."""
    if isinstance(error, ValueError) and isinstance(error.__cause__, FAILURES):
        error = error.__cause__  # the core says which callable failed, which is always ours
    full = isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
    kind = "out of memory" if full else type(error).__name__
    return f"{kind}: {' '.join(str(error).split())}"
