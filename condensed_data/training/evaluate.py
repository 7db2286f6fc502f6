"""Evaluation of condensed tensors: train networks on them from scratch, and test the networks on real samples.

As in published results, the accuracy is that after the last epoch, averaged over networks; no epoch is selected on test
data. Every result names its protocol (`Training`). Letters: N samples, K classes.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core import spec as specs
from condensed_data.core.annotations import Count, Natural, checked
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DatasetInfo, NamedCallable, Spec
from condensed_data.core.torch_settings import call_with_own_settings, own_settings
from condensed_data.core.validation import check_count
from condensed_data.training import batched_trainer
from condensed_data.training.compute import accuracy
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import protocol
from condensed_data.training.trainer import Trainer, check_samples

Scores = tuple[float, list[float]]


@dataclass(frozen=True)
class _Task:
    """Trains and tests single networks; picklable for the workers of an executor."""

    arguments: Mapping[str, Any]
    test: tuple[Tensor, Tensor]
    seed: int

    def __call__(self, run: int) -> Scores:
        return self.score(Trainer.prepare(**self.arguments), run, None)

    def rng(self, run: int) -> RandomStreams:
        return RandomStreams(RandomStreams(self.seed).seed_for("evaluation", run))

    def score(self, trainer: Trainer, run: int, on_epoch: Callable[[int], None] | None) -> Scores:
        return self.test_scores(trainer, trainer.fit(self.rng(run), on_epoch))

    def test_scores(self, trainer: Trainer, module: nn.Module) -> Scores:
        overall, per_class = accuracy(module, *self.test, precision=trainer.precision, num_classes=trainer.num_classes)
        return overall, per_class.tolist()


@own_settings()
@checked
def evaluate_tensors(
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    *,
    num_classes: int,
    network: str | Callable[..., nn.Module] = "convnet",
    runs: Count = 5,
    training: str | Training = "dsa",
    seed: Natural = 0,
    classes: Sequence[str] | None = None,
    eight_bit: Tensor | None = None,
    device: str | torch.device | None = "cpu",
    precision: str = "fp32",
    compile: bool | None = None,  # noqa: A002  # as torch calls it
    progress: bool = False,
    executor: Executor | None = None,
) -> Evaluation:
    """Train `runs` new networks on these samples and test each after its last step.

    Args:
        images: (N, *sample) standardized float samples to train on.
        labels: (N,) int64 class indices in [0, K), or (N, K) probabilities.
        test_images: (M, *sample), standardized in the same way; they need not be on the device.
        test_labels: (M,) int64.
        num_classes: K.
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        runs: networks to train, each with its own seed.
        training: a protocol or its name. Values that depend on the data are resolved with `classes`.
        seed: of the initial weights and all draws; network i starts with the same weights on any data.
        classes: class names, by which digits are recognized, which must not be flipped; without names nothing is.
        eight_bit: (N, *sample), `images` rounded to 8 bits, which are evaluated too.
        device, precision, compile: see `Trainer.prepare`.
        progress: show a bar for each network.
        executor: trains the networks in its worker processes, with their thread count, unless networks of this
            package are so small that they train faster all at once here (see `batched_trainer`). Processes started
            by "fork" hang once torch has computed with several threads: use the "spawn" context.

    Raises:
        ValueError: for data that do not match each other, the network or the protocol; for fewer than one run.
        FloatingPointError: if a network's training diverges.
    """
    started = time.perf_counter()
    check_count("evaluate", "runs", runs)
    if isinstance(executor, ThreadPoolExecutor):
        raise ValueError(
            "executor=ThreadPoolExecutor(...) shares torch's random state between threads. Use a ProcessPoolExecutor."
        )
    test, name = (test_images, test_labels), network_name(network)
    _check_test(images, labels, test, num_classes, eight_bit)
    named = tuple(classes or map(str, range(num_classes)))
    ipc = max(1, len(images) // num_classes)
    info = DatasetInfo(tuple(images.shape[1:]), named, ipc, named=classes is not None)
    resolved = specs.resolve(protocol(training), info)
    computing = {"device": device, "precision": precision, "compile": compile, "runs": runs}
    shared = {"labels": labels, "network": network, "num_classes": num_classes, "training": resolved, **computing}

    def scores_of(images: Tensor, title: str) -> list[Scores]:
        return _scores(_Task({"images": images, **shared}, test, seed), runs, title, progress, executor)

    scores = scores_of(images, name)
    rounded = [] if eight_bit is None else scores_of(eight_bit, f"{name}, 8 bits")
    return Evaluation(
        name,
        resolved,
        tuple(overall for overall, _ in scores),
        tuple(map(_mean_or_none, zip(*(per_class for _, per_class in scores), strict=True))),
        tuple(overall for overall, _ in rounded),
        time.perf_counter() - started,
    )


def cross_architecture(
    *tensors: Tensor, networks: Iterable[str | Callable[..., nn.Module]], **options: Any
) -> dict[str, Evaluation]:
    """`evaluate_tensors` with several networks and otherwise the same arguments: evaluations by network name.

    ValueError is raised if there are no networks or two have one name.
    """
    listed = list(networks)
    chosen = {network_name(network): network for network in listed}
    if not chosen or len(chosen) < len(listed):
        raise ValueError(f"networks={listed!r} must be one or more networks with different names.")
    return {name: evaluate_tensors(*tensors, network=network, **options) for name, network in chosen.items()}


def network_name(network: Any) -> str:
    """Name of a network in results."""
    if isinstance(network, str):
        return network
    if isinstance(network, NamedCallable):
        return network.name
    if isinstance(network, Spec):
        shown = []
        for field in fields(network):  # type: ignore[arg-type]
            value = getattr(network, field.name)
            if value != field.default:
                shown.append(f"{field.name}={network_name(value) if isinstance(value, Spec) else repr(value)}")
        return f"{type(network).__name__}({', '.join(shown)})"
    return str(getattr(network, "__name__", type(network).__name__))


def _check_test(
    images: Tensor, labels: Tensor, test: tuple[Tensor, Tensor], num_classes: int, eight_bit: Tensor | None
) -> None:
    check_samples("images", images, "labels", labels, num_classes)
    check_samples("test_images", test[0], "test_labels", test[1], num_classes)
    if test[1].ndim > 1:
        raise ValueError("test_labels must be int64 class indices (M,); got probabilities.")
    if test[0].shape[1:] != images.shape[1:]:
        raise ValueError(
            f"test_images has samples of shape {tuple(test[0].shape[1:])}, but images has {tuple(images.shape[1:])}. "
            "Resize one of them."
        )
    if eight_bit is not None and eight_bit.shape != images.shape:
        raise ValueError(
            f"eight_bit has shape {tuple(eight_bit.shape)}; it must be that of images, {tuple(images.shape)}."
        )


def _scores(task: _Task, runs: int, name: str, progress: bool, executor: Executor | None) -> list[Scores]:
    """Overall and per-class accuracy of every network, ordered by run."""
    from tqdm.auto import tqdm

    trainer = Trainer.prepare(**task.arguments)  # even with an executor, so that wrong arguments raise here
    epochs = trainer.training.started_epochs(len(trainer.images))
    if isinstance(trainer.network, Spec) and batched_trainer.should_batch(trainer, runs):
        title = f"{name} 1-{runs}/{runs}"
        with tqdm(desc=title, total=epochs, unit="epoch", leave=False, disable=not progress) as bar:
            rng = [task.rng(run) for run in range(runs)]
            modules = batched_trainer.fit(trainer, rng, lambda epoch, first: _advance(bar, epoch))
        return [task.test_scores(trainer, module) for module in modules]
    if executor is not None:
        alone = replace(task, arguments={**task.arguments, "runs": 1})
        done = executor.map(functools.partial(call_with_own_settings, alone), range(runs))
        return list(tqdm(done, name, runs, unit="network", leave=False, disable=not progress))
    scores = []
    for run in range(runs):
        title = f"{name} {run + 1}/{runs}"
        with tqdm(desc=title, total=epochs, unit="epoch", leave=False, disable=not progress) as bar:
            scores.append(task.score(trainer, run, functools.partial(_advance, bar)))
    return scores


def _advance(bar: Any, epochs: int) -> None:
    bar.update(epochs - bar.n)


def _mean_or_none(accuracies: Sequence[float]) -> float | None:
    return None if math.isnan(accuracies[0]) else statistics.fmean(accuracies)
