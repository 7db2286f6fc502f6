"""From a source to a finished condensation: find it in the cache or on the Hub, or have it made.

The order of things: the source is checked; its fingerprint is recalled by a digest, or taken while it is read; the
key is looked up; a missing entry is made (`job.py`) under the lock of its run, from a checkpoint where there is one;
the result is written to the cache and handed back.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch

from condensed_data.core import spec as specs
from condensed_data.data.fingerprint import dataset_digest
from condensed_data.data.real import RealData
from condensed_data.engine.checkpointing import Checkpointer
from condensed_data.engine.functional import condense_tensors as condense_tensors
from condensed_data.engine.job import CondensationJob, is_long, source_info
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.cache import Cache, cache_key
from condensed_data.storage.hub.remote_cache import HubCache
from condensed_data.storage.result import CondensationResult


@dataclass(frozen=True)
class CachedBuild:
    """One build: what is made, and where it is looked for and kept.

    Attributes:
        making: what is condensed, and how.
        fingerprint: replaces the one taken from the source's content.
        cache: None builds without keeping anything.
        force: build even where the cache or the shelf has the result.
        shelf: a repository of the Hub that is looked into before anything is condensed.
    """

    job: CondensationJob
    fingerprint: str | None = None
    cache: Cache | None = None
    force: bool = False
    hub_cache: HubCache | None = None

    def result(self) -> CondensationResult:
        """Find or make it; of several processes the first one looks for it and keeps it."""
        return self.job.ranks.main_first(self._result, self.job.run_on_worker)

    def _result(self) -> CondensationResult:
        if (self.cache is None and self.hub_cache is None) or not self._cacheable():
            return self.job.run_uncached()
        noted = (
            dataset_digest(self.job.source.dataset)
            if self.fingerprint is None
            else _text_digest(self.fingerprint)
        )
        known = None if noted is None or self.cache is None else self.cache.source_info(noted)
        real: RealData | None = None
        if known is None:
            real = self.job.read()
            known = source_info(real) | {"fingerprint": self.fingerprint or real.fingerprint}
            if noted is not None:
                self._note(noted, known)
        known |= {"groups": self._grouped(noted)}
        recipe = self.job.resolve(known)
        content = self._content(recipe, known)
        key = cache_key(content)
        found = self._found(key, content)
        if found is not None:
            return found
        if self.cache is None:
            return _keyed(self.job.condense(real or self.job.read(), recipe, known["fingerprint"]), key)
        return self._make(self.cache, key, content, recipe, real)

    def _grouped(self, noted: str | None) -> str | None:
        """The digest of all groups; what a function said about the same dataset before is recalled."""
        if self.job.groups is None:
            return None
        memo = None if self.job.groups.function is None or noted is None else self.job.groups.cache_key(noted)
        known = None if memo is None or self.cache is None else self.cache.source_info(memo)
        if known is not None:
            return str(known["fingerprint"])
        found = self.job.groups.digest(self.job.num_workers, self.job.progress)
        if memo is not None:
            self._note(memo, {"fingerprint": found})
        return found

    def _note(self, noted: str, known: Mapping[str, Any]) -> None:
        if self.cache is None:
            return
        try:
            self.cache.save_source_info(noted, known)
        except OSError as error:
            _warn_cache(self.cache, error)

    def _found(self, key: str, content: Mapping[str, Any]) -> CondensationResult | None:
        """In the cache, else on the Hub; what is found there is kept in the cache."""
        if self.force:
            return None
        kept = None if self.cache is None else self.cache.load(key)
        if kept is not None:
            return _keyed(CondensationResult.from_artifact(kept), key)
        found = None if self.hub_cache is None else self.hub_cache.fetch(key, content)
        if found is not None and self.cache is not None:
            _store(self.cache, key, found)
        return found

    def _make(
        self, cache: Cache, key: str, content: dict[str, Any], recipe: Recipe, real: RealData | None
    ) -> CondensationResult:
        """Condense under the lock of the run, from its checkpoint where there is one, and keep the result."""
        fingerprint = content["fingerprint"]
        # Runs that differ in their number of iterations alone share a checkpoint: a longer one goes on from it.
        lineage = cache_key(
            content | {"recipe": {**content["recipe"], "iterations": None}, "long": is_long(recipe)}
        )
        with ExitStack() as held:
            try:
                waited = held.enter_context(cache.lock(lineage))
            except OSError as error:
                _warn_cache(cache, error)
                return _keyed(self.job.condense(real or self.job.read(), recipe, fingerprint), key)
            found = cache.load(key) if waited and not self.force else None
            if found is not None:
                return _keyed(CondensationResult.from_artifact(found), key)
            checkpointer = Checkpointer(
                cache.checkpoint_path(lineage),
                {"lineage": lineage, "torch": torch.__version__},
                self.job.progress,
            )
            if self.force:
                checkpointer.forget()
            result = _keyed(
                self.job.condense(real or self.job.read(), recipe, fingerprint, checkpointer), key
            )
            _store(cache, key, result)
            return result

    def _cacheable(self) -> bool:
        try:
            self.job.recipe.to_json()
        except specs.UnnamedCallableError as error:
            warnings.warn(f"The result will not be cached: {error}", stacklevel=2)
            return False
        return True

    def _content(self, recipe: Recipe, known: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that decides the bits of the result."""
        ranks = self.job.ranks
        return {
            "fingerprint": known["fingerprint"],
            "recipe": recipe.to_json(),
            "seed": self.job.seed,
            "groups": known["groups"],
            "precision": self.job.precision,
            "sample": [self.job.source.kind.name, list(self.job.source.kind.shape)],
            **({"shard": [ranks.rank, ranks.count]} if ranks.isolated else {}),
        }


def _keyed(result: CondensationResult, key: str) -> CondensationResult:
    """With the key of its build, by which others find it."""
    return replace(result, metadata=replace(result.metadata, key=key))


def _store(cache: Cache, key: str, result: CondensationResult) -> None:
    try:
        result.save(cache.entry_path(key))
        cache.finish(key)
    except OSError as error:
        _warn_cache(cache, error)


def _warn_cache(cache: Cache, error: OSError) -> None:
    warnings.warn(
        f"The cache {cache.root} cannot be written ({error}), so this result is not kept there. Free space, set "
        "CONDENSED_DATA_CACHE to another folder, or pass cache=False.",
        stacklevel=3,
    )


def _text_digest(text: str) -> str:
    return hashlib.sha256(json.dumps(["text", text]).encode()).hexdigest()
