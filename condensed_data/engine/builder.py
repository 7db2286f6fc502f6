"""Gets the result of a condensation job from the cache or the Hub, or condenses and caches it.

In this order: the source's fingerprint is recalled by a digest, or computed while the source is read; the key of the
build is looked up; a missing result is condensed (`job.py`) under the lock of its run, from a checkpoint if there is
one; the result is written to the cache and returned.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from condensed_data.core import spec as specs
from condensed_data.data.batched_reads import call_in_worker
from condensed_data.data.fingerprint import dataset_digest
from condensed_data.data.real import RealData
from condensed_data.engine.checkpointing import Checkpointer
from condensed_data.engine.job import CondensationJob, is_long, source_info
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.cache import Cache, cache_key
from condensed_data.storage.hub.remote_cache import HubCache
from condensed_data.storage.result import CondensationResult


@dataclass(frozen=True)
class CachedBuild:
    """A condensation job with the places that are searched for its result.

    Attributes:
        job: what is condensed, and how.
        fingerprint: replaces the one computed from the source's content.
        cache: None condenses without storing anything.
        force: condense even if the cache or the Hub has the result.
        hub_cache: a repository of the Hub that is searched, after the cache, before condensing.
    """

    job: CondensationJob
    fingerprint: str | None = None
    cache: Cache | None = None
    force: bool = False
    hub_cache: HubCache | None = None

    def result(self) -> CondensationResult:
        """Find or condense it; with several processes, only the first one searches and stores."""
        return self.job.ranks.main_first(self._result, self.job.run_on_worker)

    def _result(self) -> CondensationResult:
        if (self.cache is None and self.hub_cache is None) or not self._cacheable():
            return self.job.run_uncached()
        if self.fingerprint is None:
            memo = call_in_worker(partial(dataset_digest, self.job.source.dataset), self.job.source.num_workers)
        else:
            memo = hashlib.sha256(json.dumps(["text", self.fingerprint]).encode()).hexdigest()
        known, real = self._recall(memo), None
        if known is None:
            real = self.job.read()
            known = source_info(real) | {"fingerprint": self.fingerprint or real.fingerprint}
            self._note(memo, known)
        groups = self.job.groups
        known |= {"groups": None if groups is None else groups.digest(self.job.progress)}
        recipe = self.job.resolve(known)
        content = self._content(recipe, known)
        key = cache_key(content)
        return self._find(key, content) or self._condense(key, content, recipe, real)

    def _recall(self, memo: str | None) -> dict[str, Any] | None:
        return None if memo is None or self.cache is None else self.cache.source_info(memo)

    def _note(self, memo: str | None, known: Mapping[str, Any]) -> None:
        if memo is not None and self.cache is not None:
            try:
                self.cache.save_source_info(memo, known)
            except OSError as error:
                _warn_cache(self.cache, error)

    def _find(self, key: str, content: Mapping[str, Any]) -> CondensationResult | None:
        """From the cache, else from the Hub; a result of the Hub is stored in the cache."""
        if self.force:
            return None
        kept = None if self.cache is None else self.cache.load(key)
        if kept is not None:
            return _keyed(CondensationResult.from_artifact(kept), key)
        found = None if self.hub_cache is None else self.hub_cache.fetch(key, content)
        if found is not None and self.cache is not None:
            _store(self.cache, key, found)
        return found

    def _condense(self, key: str, content: dict[str, Any], recipe: Recipe, real: RealData | None) -> CondensationResult:
        """Condense and store the result; with a cache, under the lock of the run and from its checkpoint, if any."""

        def condense(checkpointer: Checkpointer | None = None) -> CondensationResult:
            samples = real or self.job.read()
            return _keyed(self.job.condense(samples, recipe, content["fingerprint"], checkpointer), key)

        cache = self.cache
        if cache is None:
            return condense()
        # Runs that differ only in their number of iterations share a checkpoint: a longer one resumes from it.
        lineage = cache_key(content | {"recipe": {**content["recipe"], "iterations": None}, "long": is_long(recipe)})
        with ExitStack() as stack:
            try:
                waited = stack.enter_context(cache.lock(lineage))
            except OSError as error:
                _warn_cache(cache, error)
                return condense()
            found = cache.load(key) if waited and not self.force else None
            if found is not None:
                return _keyed(CondensationResult.from_artifact(found), key)
            identity = {"lineage": lineage, "torch": torch.__version__}
            checkpointer = Checkpointer(cache.checkpoint_path(lineage), identity, self.job.progress)
            if self.force:
                checkpointer.delete()
            result = condense(checkpointer)
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
    """With the key of its build, by which others find it on the Hub."""
    return replace(result, metadata=replace(result.metadata, key=key))


def _store(cache: Cache, key: str, result: CondensationResult) -> None:
    try:
        result.save(cache.entry_path(key))
        cache.finish(key)
    except OSError as error:
        _warn_cache(cache, error)


def _warn_cache(cache: Cache, error: OSError) -> None:
    warnings.warn(
        f"The cache {cache.root} cannot be written ({error}), so this result is not stored. Free some space, set "
        "CONDENSED_DATA_CACHE to another folder, or pass cache=False.",
        stacklevel=3,
    )
