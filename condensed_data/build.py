"""From a source to a finished condensation: find it in the cache or on the Hub, or condense it.

The order of things: the source is checked; its fingerprint is recalled by a digest, or taken while it is read; the
key is looked up; a missing entry is built under the lock of its run, from a checkpoint where there is one; the
result is written to the cache and handed back.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data import spec as specs
from condensed_data.callbacks import History, ProgressBar
from condensed_data.callbacks.bar import TrainingBar
from condensed_data.callbacks.progress import Callback
from condensed_data.condense import DivergedError, condense
from condensed_data.decoding import decoded
from condensed_data.device import choose_device, choose_precision
from condensed_data.evaluation.ordered import Ordered, Replay
from condensed_data.evaluation.training import Training
from condensed_data.hub.shelf import Shelf
from condensed_data.keeper import Keeper
from condensed_data.learning.trained import TrainedNetworks
from condensed_data.memory import fit
from condensed_data.outcome import Outcome, counted, with_labels
from condensed_data.parts import Context
from condensed_data.recipe import Recipe
from condensed_data.record import Record, environment, thin
from condensed_data.run import Run
from condensed_data.soft_labels import Labeller, labeller
from condensed_data.sources.fingerprint import digest
from condensed_data.sources.groups import Groups
from condensed_data.sources.real import Real
from condensed_data.sources.source import Source, inspect
from condensed_data.storage.cache import Cache, key_of
from condensed_data.streams import Streams, untouched
from condensed_data.synthetic import Pixels


@dataclass(frozen=True)
class Build:
    """One build: what is condensed, how, and where it is kept.

    Attributes:
        source, recipe, groups, seed: what decides the result, with `precision`.
        fingerprint: replaces the one taken from the source's content.
        cache: None builds without keeping anything.
        force: build even where the cache or the shelf has the result.
        shelf: a repository of the Hub that is looked into before anything is condensed.
        memory: bytes that the source's samples may take in memory; more goes to a file.
        device, precision, num_workers, progress, callbacks: how to go about it.
        executor: trains the networks that learn from real samples beforehand; None for this process.
    """

    source: Source
    recipe: Recipe
    seed: int
    device: torch.device
    precision: str
    groups: Groups | None = None
    fingerprint: str | None = None
    cache: Cache | None = None
    force: bool = False
    memory: int | None = None
    num_workers: int = 0
    progress: bool = True
    callbacks: Sequence[Callback] = ()
    executor: Executor | None = None
    shelf: Shelf | None = None

    def outcome(self) -> Outcome:
        """Find or make it."""
        if (self.cache is None and self.shelf is None) or not self._cacheable():
            whole = self._read()
            return self._condense(whole, self._resolve(_facts(whole)), None, None)
        noted = digest(self.source.dataset) if self.fingerprint is None else _text_digest(self.fingerprint)
        facts = None if noted is None or self.cache is None else self.cache.recall(noted)
        real: Real | None = None
        if facts is None:
            real = self._read()
            facts = _facts(real) | {"fingerprint": self.fingerprint or real.fingerprint}
            if noted is not None:
                self._note(noted, facts)
        facts |= {"groups": self._grouped(noted)}
        recipe = self._resolve(facts)
        content = self._content(recipe, facts)
        key = key_of(content)
        found = self._found(key, content)
        if found is not None:
            return found
        if self.cache is None:
            return _keyed(self._condense(real or self._read(), recipe, facts["fingerprint"], None), key)
        return self._make(self.cache, key, content, recipe, real)

    def _grouped(self, noted: str | None) -> str | None:
        """The digest of all groups; what a function said about the same dataset before is recalled."""
        if self.groups is None:
            return None
        memo = None if self.groups.ask is None or noted is None else self.groups.memo(noted)
        known = None if memo is None or self.cache is None else self.cache.recall(memo)
        if known is not None:
            return str(known["fingerprint"])
        found = self.groups.digest(self.num_workers, self.progress)
        if memo is not None:
            self._note(memo, {"fingerprint": found})
        return found

    def _note(self, noted: str, facts: Mapping[str, Any]) -> None:
        if self.cache is None:
            return
        try:
            self.cache.note(noted, facts)
        except OSError as error:
            _warn_cache(self.cache, error)

    def _found(self, key: str, content: Mapping[str, Any]) -> Outcome | None:
        """In the cache, else on the Hub; what is found there is kept in the cache."""
        if self.force:
            return None
        kept = None if self.cache is None else self.cache.load(key)
        if kept is not None:
            return _keyed(Outcome.of(kept), key)
        found = None if self.shelf is None else self.shelf.take(key, content)
        if found is not None and self.cache is not None:
            _store(self.cache, key, found)
        return found

    def _make(
        self, cache: Cache, key: str, content: dict[str, Any], recipe: Recipe, real: Real | None
    ) -> Outcome:
        """Condense under the lock of the run, from its checkpoint where there is one, and keep the result."""
        fingerprint = content["fingerprint"]
        # Runs that differ in their number of sweeps alone share a checkpoint: a longer one goes on from it.
        lineage = key_of(
            content | {"recipe": {**content["recipe"], "sweeps": None}, "long": _is_long(recipe)}
        )
        with ExitStack() as held:
            try:
                waited = held.enter_context(cache.building(lineage))
            except OSError as error:
                _warn_cache(cache, error)
                return _keyed(self._condense(real or self._read(), recipe, fingerprint, None), key)
            found = cache.load(key) if waited and not self.force else None
            if found is not None:
                return _keyed(Outcome.of(found), key)
            keeper = Keeper(
                cache.checkpoint(lineage), {"lineage": lineage, "torch": torch.__version__}, self.progress
            )
            if self.force:
                keeper.forget()
            outcome = _keyed(self._condense(real or self._read(), recipe, fingerprint, keeper), key)
            _store(cache, key, outcome)
            return outcome

    def _cacheable(self) -> bool:
        try:
            self.recipe.to_json()
        except specs.UnnamedCallableError as error:
            warnings.warn(f"The result will not be cached: {error}", stacklevel=2)
            return False
        return True

    def _content(self, recipe: Recipe, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that decides the bits of the result."""
        return {
            "fingerprint": facts["fingerprint"],
            "recipe": recipe.to_json(),
            "seed": self.seed,
            "groups": facts["groups"],
            "precision": self.precision,
            "sample": [self.source.kind.name, list(self.source.kind.shape)],
        }

    def _resolve(self, facts: Mapping[str, Any]) -> Recipe:
        names = facts["classes"] if facts["named"] else [""] * len(facts["classes"])
        return self.recipe.resolve(self.source.kind.shape, names, samples=facts["samples"])

    def _read(self) -> Real:
        folder = None if self.cache is None else self.cache.root / "stores"
        where = {"memory": self.memory, "folder": folder}
        groups = None if self.groups is None else self.groups.values(self.num_workers, self.progress)
        return Real.read(self.source, groups, self.num_workers, self.progress, **where)

    def _condense(
        self, real: Real, recipe: Recipe, fingerprint: str | None, keeper: Keeper | None
    ) -> Outcome:
        if recipe.whitening == "zca":
            if self.progress:
                print("whitening: the covariance of all samples and its eigenvectors", flush=True)
            real = real.whitened()
        run = Run(
            recipe,
            Context(
                real.to(self.device),
                recipe.ipc,
                Streams(self.seed),
                self.device,
                self.precision,
                compiles=_is_long(recipe),
                trained=TrainedNetworks(
                    None if self.cache is None else self.cache.root / "networks",
                    fingerprint,
                    self.executor,
                    TrainingBar() if self.progress else None,
                ),
            ),
        )
        history = History()
        listeners: list[Callback] = [history, *self.callbacks]
        if self.progress and recipe.sweeps:
            listeners.insert(0, ProgressBar())
        if recipe.terms:
            needed = fit(run)
            if self.progress:
                print(needed, flush=True)
        _replay(run)  # what cannot be repeated is said now
        label = None if recipe.labels_from is None else labeller(recipe.labels_from, run.context)
        if keeper is not None:
            keeper.resume(run)
            listeners.append(keeper)
        started = time.perf_counter()
        try:
            with keeper or nullcontext():
                condense(run, listeners)
        except DivergedError as error:
            outcome = self._outcome(run, real, fingerprint, history, error.sweep, started)
            error.outcome = _labelled(outcome, run, label)
            raise
        return _labelled(self._outcome(run, real, fingerprint, history, run.sweep, started), run, label)

    def _outcome(
        self,
        run: Run,
        real: Real,
        fingerprint: str | None,
        history: History,
        sweeps: int,
        started: float,
    ) -> Outcome:
        recipe, synthesis = run.recipe, run.synthesis
        record = Record(
            name=self.source.name,
            source_samples=len(real),
            fingerprint=fingerprint,
            kind=real.kind,
            space=real.space,
            whitening=specs.concrete(recipe.whitening),
            classes=real.class_names,
            class_values=tuple(real.class_values.tolist()),
            recipe=_stored(recipe),
            recipe_name=recipe.name,
            ipc=recipe.ipc,
            seed=self.seed,
            encoding=specs.to_json(recipe.synthetic),
            training=_training(run),
            sweeps=sweeps,
            seconds=time.perf_counter() - started,
            history=thin(list(zip(history.sweeps, history.losses, strict=True))),
            environment=environment(self.device, self.precision),
        )
        images = real.space.restore(decoded(synthesis))
        stored = None if isinstance(recipe.synthetic, Pixels) else synthesis.tensors()
        return Outcome(images, synthesis.labels.cpu(), record, recipe, stored, _replay(run))


def _labelled(outcome: Outcome, run: Run, label: Labeller | None) -> Outcome:
    """With the labels that were learned or that a teacher gives, and its size told."""
    if label is not None:
        outcome = with_labels(outcome, label(decoded(run.synthesis)))
    elif run.recipe.soft_labels:
        learned = run.synthesis.targets(torch.arange(len(outcome.labels)))
        outcome = with_labels(outcome, learned.detach().cpu())
    return counted(outcome, run.synthesis.stored_floats)


def _keyed(outcome: Outcome, key: str) -> Outcome:
    """With the key of its build, by which others find it."""
    return replace(outcome, record=replace(outcome.record, key=key))


def _store(cache: Cache, key: str, outcome: Outcome) -> None:
    try:
        outcome.write(cache.place(key))
        cache.finish(key)
    except OSError as error:
        _warn_cache(cache, error)


def _warn_cache(cache: Cache, error: OSError) -> None:
    warnings.warn(
        f"The cache {cache.root} cannot be written ({error}), so this result is not kept there. Free space, set "
        "CONDENSED_DATA_CACHE to another folder, or pass cache=False.",
        stacklevel=3,
    )


def _replay(run: Run) -> Replay | None:
    """The training steps that belong to the result, where its recipe says so."""
    return Replay.of(run) if isinstance(run.recipe.training, Ordered) else None


def _training(run: Run) -> Training | Ordered:
    """How to train on the result: at the learned step size, where one serves all steps."""
    training, sizes = run.recipe.training, run.synthesis.step_sizes
    if sizes is None or len(sizes) > 1 or not isinstance(training, Training):
        return training
    return replace(training, name=f"{training.name}, learned rate", lr=float(sizes.detach()[0]))


def _is_long(recipe: Recipe) -> bool:
    """Whether a run may compile its networks. Compiled code rounds differently, so long and short runs differ."""
    return specs.concrete(recipe.sweeps) >= 50


def _facts(real: Real) -> dict[str, Any]:
    return {"classes": list(real.class_names), "named": real.named, "samples": len(real)}


def _text_digest(text: str) -> str:
    return hashlib.sha256(json.dumps(["text", text]).encode()).hexdigest()


def _stored(recipe: Recipe) -> dict[str, Any] | None:
    try:
        return recipe.to_json()
    except specs.UnnamedCallableError:
        return None


def condense_tensors(
    samples: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    groups: Any = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Tensors in, tensors out: no fingerprint, no cache, no progress. For replay memories and proxies.

    Args:
        samples: (n, *sample) float or uint8.
        labels: (n,) non-negative integers.
        recipe: what to do; its `ipc` is taken.
        groups: see `CondensedDataset`.
        classes: class names by label.

    Returns:
        Synthetic samples (N, *sample) float32 in the value space of `samples`, and their labels (N,) int64 in the
        values of `labels`, or where they are soft (N, K) float32 probabilities of these values in increasing order.

    Raises:
        SourceError: for samples or labels that cannot be condensed.
        ValueError: for a recipe whose samples depend on their order, which tensors do not tell.
        DivergedError: when the loss diverges.
    """
    if isinstance(recipe.training, Ordered):
        raise ValueError(
            f"recipe {recipe.name} makes samples for one training run, and two tensors cannot hold its order, step "
            "sizes and initial weights. Use CondensedDataset."
        )
    where = choose_device(device)
    with untouched():
        source = replace(
            inspect(TensorDataset(samples, labels)), class_names=None if classes is None else tuple(classes)
        )
        specs.check(recipe, source.kind.shape)
        build = Build(
            source,
            recipe,
            seed,
            where,
            choose_precision(precision, where),
            groups=None if groups is None else Groups(groups, source),
            progress=False,
        )
        outcome = build.outcome()
    if outcome.labels.ndim == 2:
        return outcome.images, outcome.labels
    return outcome.images, torch.tensor(outcome.record.class_values)[outcome.labels]
