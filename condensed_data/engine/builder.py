"""Gets the result of a condensation job from the cache or the Hub, or condenses and caches it.

In this order: the source's fingerprint is recalled by a digest that covers every byte, or computed while the source is
read; the key of the build is looked up; a missing result is condensed (`job.py`) under the lock of its run, from a
checkpoint if there is one; the result is written to the cache and returned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from condensed_data.core import spec as specs
from condensed_data.core.caller_warnings import warn_caller
from condensed_data.data.fingerprint import dataset_digest
from condensed_data.data.real import RealData
from condensed_data.data.sample import SourceError
from condensed_data.data.source import spot_check
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
        fingerprint: a name for the source's content, which replaces the hash of all samples; the hash of a few is
            added to it, see `source.spot_check`.
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
        memo, named = self._memo()
        known, real = self._recall(memo), None
        if known is None:
            real = self.job.read()
            known = self._describe(real, named)
            self._note(memo, known)
        groups = self.job.groups
        digest = None if groups is None else groups.digest(self.job.progress)
        recipe = self.job.resolve(known)
        content = self._content(recipe, known | {"groups": digest})
        key = cache_key(content)
        found = self._find(key, content) or self._condense(key, content, recipe, known, real)
        # Sources of equal samples and labels share a result; names are no part of the key.
        names = known["source_classes"]
        own = replace(
            found.metadata,
            name=self.job.source.name,
            classes=tuple(known["classes"]),
            source_classes=None if names is None else tuple(names),
        )
        return replace(found, metadata=own)

    def _memo(self) -> tuple[str | None, str | None]:
        """The key under which the source's content is recalled, and the fingerprint if the user named it."""
        source = self.job.source
        described = [source.name, source.kind.name, source.kind.shape, source.class_names, len(source)]
        if self.fingerprint is None:
            return dataset_digest(source.dataset, described), None
        named = f"{self.fingerprint}:{spot_check(source)}"
        return hashlib.sha256(json.dumps(["text", named, described]).encode()).hexdigest(), named

    @staticmethod
    def _describe(real: RealData, named: str | None) -> dict[str, Any]:
        return source_info(real) | {"fingerprint": named or real.fingerprint}

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
            return _keyed(kept, key)
        found = None if self.hub_cache is None else self.hub_cache.fetch(key, content)
        if found is not None and self.cache is not None:
            _store(self.cache, key, found)
        return found

    def _condense(
        self, key: str, content: dict[str, Any], recipe: Recipe, known: dict[str, Any], real: RealData | None
    ) -> CondensationResult:
        """Condense and store the result; with a cache, under the lock of the run and from its checkpoint, if any."""

        def condense(checkpointer: Checkpointer | None = None) -> CondensationResult:
            samples = real or self._read_again(known)
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
                return _keyed(found, key)
            checkpointer = Checkpointer(cache.build_folder(lineage), lineage, self.job.progress)
            if self.force:
                checkpointer.delete()
            result = condense(checkpointer)
            _store(cache, key, result)
            return result

    def _read_again(self, known: dict[str, Any]) -> RealData:
        """The samples of a source that was recalled; what was recalled must be true of them."""
        real = self.job.read()
        named = None if self.fingerprint is None else known["fingerprint"]
        if self._describe(real, named) != known:
            remedy = "Run the same command again" if named is None else "Give another fingerprint="
            raise SourceError(f"The samples of {self.job.source.name} are not those that the cache knows. {remedy}.")
        return real

    def _cacheable(self) -> bool:
        try:
            self.job.recipe.to_json()
        except specs.UnnamedCallableError as error:
            warn_caller(f"The result will not be cached: {error}")
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
            "device": self.job.device.type,
            "sample": [self.job.source.kind.name, list(self.job.source.kind.shape)],
            "dataset": self.job.source.known,
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
    warn_caller(
        f"The cache {cache.root} cannot be written ({error}), so this result is not stored. Free some space, set "
        "CONDENSED_DATA_CACHE to another folder, or pass cache=False."
    )
