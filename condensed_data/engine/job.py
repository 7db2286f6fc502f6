"""A condensation job: from the real samples to the result and its metadata.

Where a result is kept, and whether it has to be condensed at all, is decided in `builder.py`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from condensed_data.core import spec as specs
from condensed_data.core.process_group import ALONE, ProcessGroup, local_count
from condensed_data.core.rng import RandomStreams
from condensed_data.core.tensor_hash import content_hash
from condensed_data.data.groups import Groups
from condensed_data.data.real import RealData
from condensed_data.data.sample_store import available_memory
from condensed_data.data.source import Source
from condensed_data.engine import job_array
from condensed_data.engine.callbacks.bar import ProgressBar, TrainingBar
from condensed_data.engine.callbacks.loggers import History
from condensed_data.engine.callbacks.progress import Callback
from condensed_data.engine.checkpointing import Checkpointer
from condensed_data.engine.divergence import DivergedError
from condensed_data.engine.interrupt import DelayedInterrupt
from condensed_data.engine.loop import CondensationRun, condense
from condensed_data.engine.memory_estimate import check_result, fit_memory, warn_about_class_sizes
from condensed_data.engine.run_result import run_result, stored_form, training_schedule
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic.soft_labels import labeler
from condensed_data.storage.result import CondensationResult
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache


@dataclass(frozen=True)
class BuildStarted:
    """Message of rank 0 to the other ranks: no stored result was found, condensing starts.

    Attributes:
        fingerprint: of the source's content, under which networks trained on it are kept.
    """

    fingerprint: str | None


@dataclass(frozen=True)
class CondensationJob:
    """What is condensed, and how.

    Attributes:
        source, recipe, groups, seed: what decides the result, together with `precision`.
        memory: bytes that the source's samples may take in memory; more goes to a file.
        folder: of that file, and of networks that are trained beforehand; None keeps these in memory.
        device, precision, progress, callbacks: how to compute and report.
        executor: trains the networks that learn from real samples beforehand; None for this process.
        ranks: the processes that divide the work; those but the first print and keep nothing. The result of a shard
            of a job array is the samples of its classes.
        warns: whether to warn of an `ipc` that condenses nothing, which a memory of few samples may have.
    """

    source: Source
    recipe: Recipe
    seed: int
    device: torch.device
    precision: str
    groups: Groups | None = None
    memory: int | None = None
    folder: Path | None = None
    progress: bool = True
    callbacks: Sequence[Callback] = ()
    executor: Executor | None = None
    ranks: ProcessGroup = ALONE
    warns: bool = True

    def distribute(self, together: bool = True) -> CondensationJob:
        """The same job on all processes of the process group, if there is one; all of them call this, if `together`.

        A recipe that learns nothing is not divided: each process computes it by itself and waits for nobody.

        Raises:
            LostRankError: if some do not join within ten minutes.
            ValueError: if their arguments differ.
        """
        if self.ranks.isolated:
            job_array.check_recipe(self.recipe)
        if not together:
            return self
        ranks = ProcessGroup.here(divided=bool(self.recipe.terms))
        if not ranks.is_distributed:
            return self if self.ranks.isolated else replace(self, ranks=ranks, progress=self.progress and ranks.is_main)
        if self.ranks.isolated:
            raise ValueError(
                "shard= runs in one process, but torchrun started several. Omit shard=, or start without torchrun."
            )
        recipe = hashlib.sha256(json.dumps(stored_form(self.recipe)).encode()).hexdigest()[:8]
        ranks.check_consistent(
            f"{self.source.name}, recipe {self.recipe.name} ({recipe}) at ipc {self.recipe.ipc}, seed {self.seed}, "
            f"{self.device.type}, {self.precision}{', groups' * (self.groups is not None)}"
            f"{', no cache' * (self.folder is None)}{', an executor' * (self.executor is not None)}"
        )
        memory = available_memory() // 2 // local_count() if self.memory is None else self.memory
        return replace(self, ranks=ranks, memory=memory, progress=self.progress and ranks.is_main)

    def run_uncached(self, fingerprint: str | None = None) -> CondensationResult:
        """Condense without reading or writing the cache, except networks trained on a source with a fingerprint."""
        real = self.read()
        return self.condense(real, self.resolve(source_info(real)), fingerprint)

    def run_on_worker(self, message: Any) -> CondensationResult:
        """Return the result on other ranks: the one rank 0 found, or the one all ranks condense together."""
        if isinstance(message, CondensationResult):
            return message
        assert isinstance(message, BuildStarted)
        return self.run_uncached(message.fingerprint)

    def read(self) -> RealData:
        """The real samples; TooLargeError if the condensed samples of one class alone do not fit into memory."""
        names = self.source.class_names or ("",)
        recipe = self.recipe.resolve(self.source.kind.shape, names, samples=len(self.source))
        check_result(recipe, self.source.kind.shape, classes=1)
        folder = None if self.folder is None else self.folder / "stores"
        groups = None if self.groups is None else self.groups.values(self.progress)
        return RealData.read(self.source, groups, self.progress, memory=self.memory, folder=folder)

    def resolve(self, info: Mapping[str, Any]) -> Recipe:
        """The recipe for a source with this `source_info`."""
        names = info["classes"] if info["named"] else [""] * len(info["classes"])
        return self.recipe.resolve(self.source.kind.shape, names, samples=info["samples"], dataset=info["dataset"])

    def condense(
        self,
        real: RealData,
        recipe: Recipe,
        fingerprint: str | None = None,
        checkpointer: Checkpointer | None = None,
    ) -> CondensationResult:
        """Condense real samples.

        Args:
            real: what `read` returned.
            recipe: resolved.
            fingerprint: of the source's content, under which networks trained on it are kept.
            checkpointer: None keeps no checkpoints.

        Raises:
            DivergedError: when the loss diverges; its `result` is the last good state.
            KeyboardInterrupt: after a whole iteration, if there is a checkpointer.
            ValueError: if other processes of the build read other samples.
        """
        self.ranks.release_waiting(BuildStarted(fingerprint))
        recipe.check_outputs(real.num_classes, real.sample_shape)
        check_result(recipe, real.sample_shape, real.num_classes)
        if self.warns and self.ranks.is_main:
            warn_about_class_sizes(recipe, real)
        self.ranks.check_equal(
            f"fingerprint {real.fingerprint[:8]}, groups {content_hash({'groups': real.groups})[:8]}",
            "read different samples, labels or groups",
            "All ranks need the same dataset in the same order: seed what splits or shuffles it.",
        )
        if recipe.whitening == "zca":
            if self.progress:
                print("whitening: computing the covariance of all samples and its eigenvectors", flush=True)
            real = real.whitened()
        run = self._start(real, recipe, fingerprint)
        label = None if recipe.labels_from is None else labeler(recipe.labels_from, run.context)
        history = History()
        listeners: list[Callback] = [history, *(self.callbacks if self.ranks.is_main else ())]
        if self.progress and recipe.iterations:
            listeners.insert(0, ProgressBar())
        if checkpointer is not None:
            checkpointer.resume(run)
            listeners.append(checkpointer)
        _broadcast_state(run)
        started = time.perf_counter()

        def result(iterations: int) -> CondensationResult:
            seconds = time.perf_counter() - started
            return run_result(run, self.source.name, fingerprint, label, history, iterations, seconds)

        # Without a checkpoint there is nothing to wait for; the other ranks stop when rank 0 does.
        delayed = checkpointer is not None or not self.ranks.is_main
        interrupt = DelayedInterrupt(once=not self.ranks.is_distributed)
        run.stop_requested = lambda: interrupt.requested
        try:
            with interrupt if delayed else nullcontext():
                condense(run, listeners)
        except DivergedError as error:
            error.result = result(error.iteration)
            raise
        done = result(run.iteration)
        return job_array.own_part(done, run) if self.ranks.isolated else done

    def _start(self, real: RealData, recipe: Recipe, fingerprint: str | None) -> CondensationRun:
        """A run whose parts have started, and that fits into memory."""
        store = PretrainedCache(
            None if self.folder is None else self.folder / "networks",
            fingerprint,
            self.executor,
            TrainingBar() if self.progress else None,
            self.ranks,
        )
        context = Context(
            real.to(self.device),
            recipe.ipc,
            RandomStreams(self.seed),
            self.device,
            self.precision,
            compiles=is_long(recipe),
            network_store=store,
            progress=self.progress,
            ranks=self.ranks,
        )
        run = CondensationRun(recipe, context)
        if self.ranks.isolated:
            job_array.check_run(run)
        if recipe.terms:
            needed, run.gradient.num_chunks = fit_memory(run.parts, context, run.plan.largest_block)
            if self.progress:
                print(f"memory: {needed}", flush=True)
        training_schedule(run)  # raises before the work starts what would raise after it
        return run


def _broadcast_state(run: CondensationRun) -> None:
    """Bring every rank to the state of rank 0, if rank 0 resumed a checkpoint."""
    ranks = run.context.ranks
    if ranks.is_distributed:
        state = ranks.broadcast(run.state_dict() if ranks.is_main and run.iteration else None)
        if state is not None and not ranks.is_main:
            run.load_state_dict(state)


def is_long(recipe: Recipe) -> bool:
    """Whether a run may compile its networks. Compiled code rounds differently, so long and short runs differ."""
    return specs.require_resolved(recipe.iterations) >= 50


def source_info(real: RealData) -> dict[str, Any]:
    """What is known of a source after it was read; the cache keeps it for the next time."""
    names = real.source_classes
    return {
        "classes": list(real.class_names),
        "source_classes": None if names is None else list(names),
        "named": real.named,
        "samples": len(real),
        "dataset": real.known,
    }
