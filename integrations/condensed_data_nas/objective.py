"""ProxyObjective: how good a configuration is, by networks trained on a condensed set and judged by real samples.

    objective = ProxyObjective(condensed, val=real_val, space=convnet_space(), epochs=100)
    study.optimize(objective, n_trials=200)                                     # Optuna, with pruning
    tune.Tuner(objective.trainable(), param_space=objective.param_space()).fit()  # Ray Tune
    objective({"width": 64, "depth": 3})                                        # any other loop
    objective.evaluate_many(configs, executor=...)                              # any concurrent.futures.Executor

Neither Optuna nor Ray is imported before it is used.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.training.protocol import Training
from condensed_data_nas import loops
from condensed_data_nas import parallel as many
from condensed_data_nas import space as spaces
from condensed_data_nas.space import Config, ValueSpace
from condensed_data_nas.task import ProxyTask, training_for
from condensed_data_nas.trial import Report, TrialConfig, fit
from condensed_data_nas.trial_result import Result

BuildModel = Callable[[Any], Any]


class ProxyObjective:
    """Accuracy, in [0, 1], of a configuration on real validation samples after training on a condensed set.

    Every configuration has a seed of its own, made of `seed` and what it is, so its value does not depend on the
    order or the process in which configurations are tried, and the same one is trained once.
    A configuration that cannot be trained (images pooled below one pixel, out of memory, diverged) counts as pruned in
    Optuna, and as an accuracy of 0 elsewhere; `measure` says why. Other errors of `build_model`, such as a TypeError,
    are bugs, and end the search.

    Args:
        condensed: the set to train on; soft labels and factorized sets as well.
        build_model: configuration -> network: a module, a name, a specification or a callable (num_classes,
            sample_shape) -> Module; called under a seed of its own. Without `space` it takes the Optuna trial and
            suggests for itself. By default the ConvNets of `convnet_space`.
        space: names to choices or `Range`s, for Optuna trials and `param_space`; names that are fields of `Training`
            (lr, optimizer, batch_size, augment, ...) change the training.
        val: real samples of the source's kind and value space, a map-style dataset of (sample, label). Test samples
            belong to what comes after the search.
        training: a protocol or its name; by default the set's own.
        epochs: instead of the protocol's.
        seeds: networks of each configuration; its value is their mean, pruning looks at the first.
        seed: of all draws.
        device: where to compute. The samples go there once and are shared by all trials of a process.
        precision: "auto", "fp32" or "bf16".
        report_every: epochs between two reports of the first network; by default there are ten.
        batched: train the networks of a configuration together; by default where that is faster: small ones on a CPU,
            on an accelerator where a few steps show it.
        recalibrate: judge networks by batch statistics of their final weights instead of those gathered in training,
            which lag behind in short trainings, see `recalibration`.

    Raises:
        SourceError: for validation samples that do not fit.
        ValueError, TypeError: for arguments out of range, and for a set that is trained on by its own steps.
    """

    def __init__(
        self,
        condensed: Any,
        build_model: BuildModel | None = None,
        *,
        space: ValueSpace | None = None,
        val: Any,
        training: str | Training | None = None,
        epochs: int | None = None,
        seeds: int = 1,
        seed: int = 0,
        device: str | torch.device | None = None,
        precision: str = "auto",
        report_every: int | None = None,
        batched: bool | None = None,
        recalibrate: bool = False,
    ) -> None:
        for name, value in (("seeds", seeds), ("epochs", epochs or 1), ("report_every", report_every or 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}={value!r} must be an integer of at least 1.")
        if build_model is None and space is None:
            raise ValueError(
                "build_model and space are both missing. Give space=convnet_space(), or a build_model that suggests "
                "for itself."
            )
        if space is not None:
            spaces.check(space)
        self.space, self.build_model, self.seed = (
            space,
            build_model or spaces.convnet,
            RandomStreams(seed).seed,
        )
        self.device = choose_device(device)
        self.plan = TrialConfig(
            seeds, choose_precision(precision, self.device), report_every, batched, recalibrate
        )
        with preserve_rng_state():
            self.task = ProxyTask.of(condensed, val)
        self.condensed = condensed
        self.training = training_for(condensed.training, training, epochs)
        self._known: dict[str, Result] = {}
        self._held: ProxyTask | None = None

    def __call__(self, trial: Any) -> float:
        """The value of an Optuna trial, or of a configuration.

        Raises:
            TypeError: for anything else.
            optuna.TrialPruned: for a trial that the pruner ends, or that cannot be trained.
        """
        if isinstance(trial, Mapping):
            return self.measure(trial).value
        if not hasattr(trial, "suggest_categorical"):
            raise TypeError(
                f"ProxyObjective takes an Optuna trial or a configuration, a mapping; got {type(trial).__name__}."
            )
        return loops.of_optuna(self, trial)

    def measure(self, config: Config, report: Report | None = None, trial: Any = None) -> Result:
        """Train and test the networks of a configuration, or find it among those that this process trained before.

        Args:
            config: names to values.
            report: called with (epoch, accuracy) of the first network; whatever it raises ends the training.
            trial: what `build_model` is called with where there is no space.
        """
        config = spaces.plain(config)
        key = spaces.key_of(config)
        if key in self._known:
            if report is not None:
                for epoch, value in self._known[key].curve:
                    report(epoch, value)
            return self._known[key]
        build = functools.partial(self.build_model, config if trial is None else trial)
        seed = RandomStreams(self.seed).seed_for(f"nas/{key}")
        try:
            training = spaces.training_of(config, self.training)
        except ValueError as error:
            found = Result(config, error=f"ValueError: {error}")
        else:
            with preserve_rng_state():
                found = fit(self.on_device(), self.plan, build, config, training, seed, report)
        self._known[key] = found
        return found

    def on_device(self) -> ProxyTask:
        """The samples, sent to the device by the first that asks in this process."""
        if self._held is None:
            self._held = self.task.to(self.device)
        return self._held

    def on(
        self,
        dataset: Any,
        *,
        training: str | Training | None = None,
        epochs: int | None = None,
        seeds: int | None = None,
        seed: int | None = None,
        recalibrate: bool | None = None,
    ) -> ProxyObjective:
        """The same objective, trained on real samples: the reference, or a baseline that stops early.

        Args:
            dataset: of the condensed set's kind, standardized as that is.
            training, epochs: as in the class; by default this objective's training.
            seeds, seed, recalibrate: by default this objective's.

        Raises:
            SourceError: for samples that do not fit.
        """
        other = copy.copy(self)
        with preserve_rng_state():
            images, labels = self.condensed.standardized("dataset", dataset)
        other.task = ProxyTask(images, labels, self.task.val_images, self.task.val_labels, self.task.facts)
        other.training = training_for(self.training, training, epochs)
        other.plan = replace(
            self.plan,
            seeds=self.plan.seeds if seeds is None else seeds,
            recalibrate=self.plan.recalibrate if recalibrate is None else recalibrate,
        )
        other.seed = self.seed if seed is None else RandomStreams(seed).seed
        other._known, other._held = {}, None
        return other

    def evaluate_many(
        self,
        configs: Iterable[Config],
        executor: Executor | None = None,
        *,
        journal: str | Path | None = None,
        progress: bool = False,
    ) -> list[Result]:
        """Train and test many configurations; results are in their order.

        Args:
            configs: mappings from names to values; the same one twice is trained once.
            executor: any `concurrent.futures.Executor` with worker processes, `condensed_data_ray.RayExecutor` for Ray
                tasks; by default this process. `build_model` must then be importable there: a function of a module.
            journal: a file of JSON lines, one a result: what it holds for this objective is not trained again, so a
                killed call goes on where it stopped. `build_model` is known by its name there.
            progress: show a bar.

        Raises:
            ValueError: for an executor of threads, which share random states; for a journal and a `build_model`
                without a name of its own, such as a lambda.
        """
        return many.evaluate(self, list(configs), executor, journal, progress)

    def trainable(self) -> Callable[[dict[str, Any]], None]:
        """What `ray.tune.Tuner` takes; it reports "accuracy", "epoch" and, at the end, what a trial cost."""
        return loops.of_ray(self)

    def param_space(self) -> dict[str, Any]:
        """The space in Ray Tune's words.

        Raises:
            ValueError: without a space.
        """
        if self.space is None:
            raise ValueError("param_space() needs ProxyObjective(space=...).")
        return loops.ray_space(self.space)

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: without what is on the device, or was trained here."""
        return {**self.__dict__, "_held": None, "_known": {}, "condensed": None}
