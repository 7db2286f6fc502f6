"""ProxyObjective: the accuracy of networks that are trained on a condensed dataset and tested on real samples.

    objective = ProxyObjective(condensed, val=real_val, space=convnet_space(), epochs=100)
    study.optimize(objective, n_trials=200)                                     # Optuna, with pruning
    tune.Tuner(objective.trainable(), param_space=objective.param_space()).fit()  # Ray Tune
    objective({"width": 64, "depth": 3})                                        # any other loop
    objective.evaluate_many(configs, executor=...)                              # any concurrent.futures.Executor

Optuna and Ray are imported on first use.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from condensed_data.core import spec as specs
from condensed_data.core.annotations import Count, Natural, checked
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.tensor_hash import content_hash
from condensed_data.core.torch_settings import doors
from condensed_data.core.validation import check_count
from condensed_data.training.protocol import Training
from condensed_data_nas import adapters
from condensed_data_nas import space as spaces
from condensed_data_nas.parallel import Journal, evaluate_many
from condensed_data_nas.space import Config, ValueSpace
from condensed_data_nas.task import ProxyTask, search_training
from condensed_data_nas.trial import Reporter, TrialConfig, run_trial
from condensed_data_nas.trial_result import Result

BuildModel = Callable[[Any], Any]


@doors
class ProxyObjective:
    """Accuracy, in [0, 1], of a configuration on real validation samples after training on a condensed dataset.

    Each configuration has its own seed, derived from `seed` and the configuration, so that its value does not depend
    on the order or the process in which configurations are tried; equal configurations are trained once.
    A configuration that cannot be trained (images pooled below one pixel, out of memory, diverged) is pruned in Optuna
    and has accuracy 0 elsewhere; `measure` returns the reason. Other errors of `build_model`, such as a TypeError, are
    bugs and end the search.

    Args:
        condensed: the dataset to train on; soft labels and factorized datasets are supported.
        build_model: configuration -> network: a module, a name, a specification or a callable (num_classes,
            sample_shape) -> Module; called with its own seed. Without `space` it is called with the Optuna trial and
            suggests values itself. By default the ConvNets of `convnet_space`.
        space: names -> choices or `Range`s, for Optuna trials and `param_space`; names that are fields of `Training`
            (lr, optimizer, batch_size, augment, ...) change the training.
        val: real samples of the source's kind and value space, a map-style dataset of (sample, label). Keep test
            samples for after the search.
        training: a protocol or its name; by default that of the condensed dataset.
        epochs: override those of the protocol.
        seeds: networks per configuration; its value is their mean, pruning uses the first.
        seed: determines all random draws.
        device: where to compute. The samples are moved there once and shared by all trials of a process.
        precision: "auto", "fp32" or "bf16".
        report_every: epochs between two reports on the first network; by default there are ten reports.
        batched: train the networks of a configuration together; by default if that is faster: for small networks on
            a CPU, and on an accelerator if a few steps show it.
        recalibrate: test networks with batch statistics of their final weights instead of those gathered in training,
            which lag behind in short trainings; see `recalibration`.

    Raises:
        SourceError: for validation samples that do not fit.
        ValueError, TypeError: for invalid arguments, and for an order-dependent condensed dataset.
    """

    @checked
    def __init__(
        self,
        condensed: Any,
        build_model: BuildModel | None = None,
        *,
        space: ValueSpace | None = None,
        val: Any,
        training: str | Training | None = None,
        epochs: Natural | None = None,
        seeds: Count = 1,
        seed: Natural = 0,
        device: str | torch.device | None = None,
        precision: str = "auto",
        report_every: Count | None = None,
        batched: bool | None = None,
        recalibrate: bool = False,
    ) -> None:
        check_count("ProxyObjective", "seeds", seeds)
        for name, value, least in (("epochs", epochs, 0), ("report_every", report_every, 1)):
            if value is not None:
                check_count("ProxyObjective", name, value, least)
        if build_model is None and space is None:
            raise ValueError(
                "ProxyObjective needs build_model or space, but both are missing. Give space=convnet_space(), or a "
                "build_model that suggests values itself."
            )
        if space is not None:
            spaces.check_space(space)
        self.space, self.build_model = space, build_model or spaces.convnet
        self.seed, self.device = RandomStreams(seed).seed, choose_device(device)
        self.options = TrialConfig(seeds, choose_precision(precision, self.device), report_every, batched, recalibrate)
        with preserve_rng_state():
            self.task = ProxyTask.from_condensed(condensed, val)
        self.condensed = condensed
        self.training = search_training(condensed.training, training, epochs)
        self._results: dict[str, Result] = {}
        self._task_on_device: ProxyTask | None = None

    def __call__(self, trial: Any) -> float:
        """The value of an Optuna trial, or of a configuration.

        Raises:
            TypeError: for anything else.
            optuna.TrialPruned: if the pruner stops the trial, or its configuration cannot be trained.
        """
        if isinstance(trial, Mapping):
            return self.measure(trial).value
        if not hasattr(trial, "suggest_categorical"):
            raise TypeError(
                f"ProxyObjective needs an Optuna trial or a configuration, a mapping; got {type(trial).__name__}."
            )
        measure = functools.partial(self.measure, trial=trial if self.space is None else None)
        return adapters.run_optuna_trial(trial, self._suggest, measure)

    @checked
    def measure(self, config: Config, report: Reporter | None = None, trial: Any = None) -> Result:
        """Train and test the networks of a configuration, or return the result of this process for it.

        Args:
            config: names -> values.
            report: called with (epoch, accuracy) of the first network; an exception that it raises ends the training.
            trial: given to `build_model` instead of the configuration if there is no space.
        """
        config = spaces.to_python(config)
        key = spaces.key_of(config)
        if key in self._results:
            if report is not None:
                for epoch, value in self._results[key].curve:
                    report(epoch, value)
            return self._results[key]
        build = functools.partial(self.build_model, config if trial is None else trial)
        seed = RandomStreams(self.seed).seed_for(f"nas/{key}")
        try:
            training = spaces.training_of(config, self.training)
        except ValueError as error:
            result = Result(config, error=f"ValueError: {error}")
        else:
            with preserve_rng_state():
                result = run_trial(self.on_device(), self.options, build, config, training, seed, report)
        self._results[key] = result
        return result

    def on_device(self) -> ProxyTask:
        """The samples on the device; moved there on the first call in this process."""
        if self._task_on_device is None:
            self._task_on_device = self.task.to(self.device)
        return self._task_on_device

    @checked
    def trained_on(
        self,
        dataset: Any,
        *,
        training: str | Training | None = None,
        epochs: int | None = None,
        seeds: int | None = None,
        seed: int | None = None,
        recalibrate: bool | None = None,
    ) -> ProxyObjective:
        """The same objective, trained on real samples: as a reference, or as a baseline that stops early.

        Args:
            dataset: of the kind of the condensed dataset, and standardized like it; raises SourceError if it does not
                fit.
            training, epochs, seeds, seed, recalibrate: as for the class; by default those of this objective.
        """
        other = copy.copy(self)
        with preserve_rng_state():
            images, labels = self.condensed.standardized("dataset", dataset)
        other.task = ProxyTask(images, labels, self.task.val_images, self.task.val_labels, self.task.info)
        own = replace(self.training, views=1)  # real samples are no views of anything
        other.training = search_training(own, training, epochs)
        changes: dict[str, Any] = {"seeds": seeds, "recalibrate": recalibrate}
        other.options = replace(self.options, **{name: one for name, one in changes.items() if one is not None})
        other.seed = self.seed if seed is None else RandomStreams(seed).seed
        other.condensed = self.condensed  # the other state that `__getstate__` drops starts empty
        return other

    @checked
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
            configs: mappings from names to values; equal ones are trained once.
            executor: any `concurrent.futures.Executor` with worker processes, `condensed_data_ray.RayExecutor` for Ray
                tasks; by default this process. `build_model` must be importable in the workers: a function of a module.
            journal: a file of JSON lines, one per result. Results of this objective that it holds are not computed
                again, so that an interrupted call continues. `build_model` is identified by its name.
            progress: show a bar.

        Raises:
            ValueError: for an executor of threads, which would share random states; for a journal and a `build_model`
                without an importable name, such as a lambda.
        """
        kept = None if journal is None else Journal(Path(journal), self.digest())
        return evaluate_many(self.measure, list(configs), executor, kept, progress)

    def digest(self) -> str:
        """Identity of this objective in a journal; `build_model` counts by its name only.

        Raises:
            ValueError: for a `build_model` without an importable name.
        """
        build, task, options = self.build_model, self.task, self.options
        name = f"{getattr(build, '__module__', '')}.{getattr(build, '__qualname__', '<unnamed>')}"
        if "<" in name:
            raise ValueError(
                f"journal= identifies build_model by its name, but {build!r} has none. Give a function of a module."
            )
        tensors = {"x": task.images, "y": task.labels, "val_x": task.val_images, "val_y": task.val_labels}
        info = [content_hash(tensors), specs.to_json(self.training), options.seeds, options.precision, self.seed, name]
        info += ["recalibrate"] * options.recalibrate
        return hashlib.sha256(json.dumps(info).encode()).hexdigest()[:16]

    def trainable(self) -> Callable[[dict[str, Any]], None]:
        """A trainable for `ray.tune.Tuner`; it reports "accuracy", "epoch" and, at the end, the costs of the trial."""
        return adapters.ray_trainable(self.measure)

    def param_space(self) -> dict[str, Any]:
        """The space as Ray Tune's search space.

        Raises:
            ValueError: without a space.
        """
        if self.space is None:
            raise ValueError("param_space() needs a space. Create the objective with ProxyObjective(space=...).")
        return adapters.ray_space(self.space)

    def _suggest(self, trial: Any) -> dict[str, Any]:
        """The configuration of an Optuna trial; without a space it is what `build_model` asks the trial for."""
        if self.space is not None:
            return spaces.suggest(trial, self.space)
        self.build_model(trial)
        return dict(trial.params)

    def __getstate__(self) -> dict[str, Any]:
        """State for other processes, without the condensed dataset, tensors on the device and earlier results."""
        return {**self.__dict__, "_task_on_device": None, "_results": {}, "condensed": None}
