"""What is condensed and how, and its making: from the real samples to the result and its record.

Where a result is kept, and whether it has to be made at all, is for `build.py`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from condensed_data.core import spec as specs
from condensed_data.core.process_group import ALONE, ProcessGroup, local_count
from condensed_data.core.rng import RandomStreams
from condensed_data.data.groups import Groups
from condensed_data.data.real import RealData
from condensed_data.data.sample_store import available_memory
from condensed_data.data.source import Source
from condensed_data.engine import job_array as sharding
from condensed_data.engine.callbacks import History, ProgressBar
from condensed_data.engine.callbacks.bar import TrainingBar
from condensed_data.engine.callbacks.progress import Callback
from condensed_data.engine.checkpointing import Checkpointer
from condensed_data.engine.loop import DivergedError, condense
from condensed_data.engine.memory_estimate import fit
from condensed_data.engine.rank_sync import BuildStarted, RankSynchronizer
from condensed_data.engine.run import CondensationRun
from condensed_data.engine.schedule import training_schedule
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.replay import TrainingSchedule
from condensed_data.methods.synthetic import Pixels
from condensed_data.methods.synthetic.decoding import decoded
from condensed_data.methods.synthetic.soft_labels import Labeler, labeler
from condensed_data.storage.metadata import Metadata, environment, thin
from condensed_data.storage.result import CondensationResult, with_soft_labels, with_storage_size
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache
from condensed_data.training.protocol import OrderedTraining, Training


@dataclass(frozen=True)
class CondensationJob:
    """What is condensed, and how.

    Attributes:
        source, recipe, groups, seed: what decides the result, with `precision`.
        memory: bytes that the source's samples may take in memory; more goes to a file.
        folder: of that file, and of networks that are trained beforehand; None keeps these in memory.
        device, precision, num_workers, progress, callbacks: how to go about it.
        executor: trains the networks that learn from real samples beforehand; None for this process.
        ranks: the processes that share the work; those but the first are silent and keep nothing. Of a shard of a
            job array, the result is the samples of its classes.
    """

    source: Source
    recipe: Recipe
    seed: int
    device: torch.device
    precision: str
    groups: Groups | None = None
    memory: int | None = None
    folder: Path | None = None
    num_workers: int = 0
    progress: bool = True
    callbacks: Sequence[Callback] = ()
    executor: Executor | None = None
    ranks: ProcessGroup = ALONE

    def distribute(self) -> CondensationJob:
        """Shared with the other processes of the process group, where there is one; all of them call this.

        Raises:
            LostRankError: where some do not come within ten minutes.
            ValueError: where they want to make different things.
        """
        if self.ranks.isolated:
            sharding.check(self.recipe)
        ranks = ProcessGroup.here()
        if not ranks.is_distributed:
            return self
        if self.ranks.isolated:
            raise ValueError("A shard is built by one process: leave shard= out, or torchrun.")
        recipe = hashlib.sha256(json.dumps(_stored(self.recipe)).encode()).hexdigest()[:8]
        ranks.check_consistent(
            f"{self.source.name}, recipe {self.recipe.name} ({recipe}) at ipc {self.recipe.ipc}, seed {self.seed}, "
            f"{self.device.type}, {self.precision}"
        )
        memory = available_memory() // 2 // local_count() if self.memory is None else self.memory
        return replace(self, ranks=ranks, memory=memory, progress=self.progress and ranks.is_main)

    def run_uncached(self) -> CondensationResult:
        """The result, with nothing looked up and nothing kept."""
        real = self.read()
        return self.condense(real, self.resolve(source_info(real)))

    def run_on_worker(self, message: Any) -> CondensationResult:
        """The result on the other ranks: what the first one found, or made together with it."""
        if isinstance(message, CondensationResult):
            return message
        assert isinstance(message, BuildStarted)
        real = self.read()
        return self.condense(real, self.resolve(source_info(real)), message.fingerprint)

    def read(self) -> RealData:
        """The real samples."""
        folder = None if self.folder is None else self.folder / "stores"
        where = {"memory": self.memory, "folder": folder}
        groups = None if self.groups is None else self.groups.values(self.num_workers, self.progress)
        return RealData.read(self.source, groups, self.num_workers, self.progress, **where)

    def resolve(self, source_info: Mapping[str, Any]) -> Recipe:
        """The recipe for a source of which this is known; see `source_info`."""
        names = source_info["classes"] if source_info["named"] else [""] * len(source_info["classes"])
        return self.recipe.resolve(self.source.kind.shape, names, samples=source_info["samples"])

    def condense(
        self,
        real: RealData,
        recipe: Recipe,
        fingerprint: str | None = None,
        checkpointer: Checkpointer | None = None,
    ) -> CondensationResult:
        """Condense, and say what was made.

        Args:
            real: what `read` gave.
            recipe: resolved.
            fingerprint: of the source's content, under which networks trained on it are kept.
            keeper: of checkpoints; None keeps none.

        Raises:
            DivergedError: when the loss diverges; its `result` is the last good state.
        """
        self.ranks.release_waiting(BuildStarted(fingerprint))
        if recipe.whitening == "zca":
            if self.progress:
                print("whitening: the covariance of all samples and its eigenvectors", flush=True)
            real = real.whitened()
        run = CondensationRun(
            recipe,
            Context(
                real.to(self.device),
                recipe.ipc,
                RandomStreams(self.seed),
                self.device,
                self.precision,
                compiles=is_long(recipe),
                trained=PretrainedCache(
                    None if self.folder is None else self.folder / "networks",
                    fingerprint,
                    self.executor,
                    TrainingBar() if self.progress else None,
                    self.ranks,
                ),
                ranks=self.ranks,
            ),
        )
        history = History()
        listeners: list[Callback] = [history, *(self.callbacks if self.ranks.is_main else ())]
        if self.progress and recipe.iterations:
            listeners.insert(0, ProgressBar())
        if self.ranks.isolated:
            sharding.check_run(run)
        if recipe.terms:
            needed = fit(run)
            if self.progress:
                print(needed, flush=True)
        _replay(run)  # what cannot be repeated is said now
        label = None if recipe.labels_from is None else labeler(recipe.labels_from, run.context)
        if checkpointer is not None:
            checkpointer.resume(run)
            listeners.append(checkpointer)
        rank_synchronizer = RankSynchronizer(run)
        rank_synchronizer.resume()
        listeners.append(rank_synchronizer)
        started = time.perf_counter()
        try:
            with checkpointer or rank_synchronizer:
                condense(run, listeners)
        except DivergedError as error:
            result = self._result(run, real, fingerprint, history, error.iteration, started)
            error.result = _labeled(result, run, label)
            raise
        result = _labeled(self._result(run, real, fingerprint, history, run.iteration, started), run, label)
        return sharding.part(result, run) if self.ranks.isolated else result

    def _result(
        self,
        run: CondensationRun,
        real: RealData,
        fingerprint: str | None,
        history: History,
        iterations: int,
        started: float,
    ) -> CondensationResult:
        recipe, synthetic_data = run.recipe, run.synthetic_data
        metadata = Metadata(
            name=self.source.name,
            source_samples=len(real),
            fingerprint=fingerprint,
            kind=real.kind,
            space=real.space,
            whitening=specs.require_resolved(recipe.whitening),
            classes=real.class_names,
            class_values=tuple(real.class_values.tolist()),
            recipe=_stored(recipe),
            recipe_name=recipe.name,
            ipc=recipe.ipc,
            seed=self.seed,
            encoding=specs.to_json(recipe.synthetic),
            training=_training(run),
            iterations=iterations,
            seconds=time.perf_counter() - started,
            history=thin(list(zip(history.iterations, history.losses, strict=True))),
            environment=environment(self.device, self.precision),
        )
        images = real.space.restore(decoded(synthetic_data))
        stored = None if isinstance(recipe.synthetic, Pixels) else synthetic_data.tensors()
        return CondensationResult(images, synthetic_data.labels.cpu(), metadata, recipe, stored, _replay(run))


def _labeled(result: CondensationResult, run: CondensationRun, label: Labeler | None) -> CondensationResult:
    """With the labels that were learned or that a teacher gives, and its size told."""
    if label is not None:
        result = with_soft_labels(result, label(decoded(run.synthetic_data)))
    elif run.recipe.soft_labels:
        learned = run.synthetic_data.targets(torch.arange(len(result.labels)))
        result = with_soft_labels(result, learned.detach().cpu())
    return with_storage_size(result, run.synthetic_data.stored_floats)


def _replay(run: CondensationRun) -> TrainingSchedule | None:
    """The training steps that belong to the result, where its recipe says so."""
    return training_schedule(run) if isinstance(run.recipe.training, OrderedTraining) else None


def _training(run: CondensationRun) -> Training | OrderedTraining:
    """How to train on the result: at the learned step size, where one serves all steps."""
    training, sizes = run.recipe.training, run.synthetic_data.step_sizes
    if sizes is None or len(sizes) > 1 or not isinstance(training, Training):
        return training
    return replace(training, name=f"{training.name}, learned rate", lr=float(sizes.detach()[0]))


def is_long(recipe: Recipe) -> bool:
    """Whether a run may compile its networks. Compiled code rounds differently, so long and short runs differ."""
    return specs.require_resolved(recipe.iterations) >= 50


def source_info(real: RealData) -> dict[str, Any]:
    """What is known of a source once it was read, and noted for the next time."""
    return {"classes": list(real.class_names), "named": real.named, "samples": len(real)}


def _stored(recipe: Recipe) -> dict[str, Any] | None:
    try:
        return recipe.to_json()
    except specs.UnnamedCallableError:
        return None
