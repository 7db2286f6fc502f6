"""From a source to a finished condensation: find it in the cache or on the Hub, or have it made.

The order of things: the source is checked; its fingerprint is recalled by a digest, or taken while it is read; the
key is looked up; a missing entry is made (`making.py`) under the lock of its run, from a checkpoint where there is one;
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
from condensed_data.data.fingerprint import digest
from condensed_data.data.real import Real
from condensed_data.engine.checkpointing import Keeper
from condensed_data.engine.functional import condense_tensors as condense_tensors
from condensed_data.engine.job import Making, facts, is_long
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.cache import Cache, key_of
from condensed_data.storage.hub.remote_cache import Shelf
from condensed_data.storage.result import Outcome


@dataclass(frozen=True)
class Build:
    """One build: what is made, and where it is looked for and kept.

    Attributes:
        making: what is condensed, and how.
        fingerprint: replaces the one taken from the source's content.
        cache: None builds without keeping anything.
        force: build even where the cache or the shelf has the result.
        shelf: a repository of the Hub that is looked into before anything is condensed.
    """

    making: Making
    fingerprint: str | None = None
    cache: Cache | None = None
    force: bool = False
    shelf: Shelf | None = None

    def outcome(self) -> Outcome:
        """Find or make it; of several processes the first one looks for it and keeps it."""
        return self.making.ranks.together(self._outcome, self.making.follow)

    def _outcome(self) -> Outcome:
        if (self.cache is None and self.shelf is None) or not self._cacheable():
            return self.making.afresh()
        noted = (
            digest(self.making.source.dataset) if self.fingerprint is None else _text_digest(self.fingerprint)
        )
        known = None if noted is None or self.cache is None else self.cache.recall(noted)
        real: Real | None = None
        if known is None:
            real = self.making.read()
            known = facts(real) | {"fingerprint": self.fingerprint or real.fingerprint}
            if noted is not None:
                self._note(noted, known)
        known |= {"groups": self._grouped(noted)}
        recipe = self.making.resolve(known)
        content = self._content(recipe, known)
        key = key_of(content)
        found = self._found(key, content)
        if found is not None:
            return found
        if self.cache is None:
            return _keyed(self.making.condense(real or self.making.read(), recipe, known["fingerprint"]), key)
        return self._make(self.cache, key, content, recipe, real)

    def _grouped(self, noted: str | None) -> str | None:
        """The digest of all groups; what a function said about the same dataset before is recalled."""
        if self.making.groups is None:
            return None
        memo = None if self.making.groups.ask is None or noted is None else self.making.groups.memo(noted)
        known = None if memo is None or self.cache is None else self.cache.recall(memo)
        if known is not None:
            return str(known["fingerprint"])
        found = self.making.groups.digest(self.making.num_workers, self.making.progress)
        if memo is not None:
            self._note(memo, {"fingerprint": found})
        return found

    def _note(self, noted: str, known: Mapping[str, Any]) -> None:
        if self.cache is None:
            return
        try:
            self.cache.note(noted, known)
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
        # Runs that differ in their number of iterations alone share a checkpoint: a longer one goes on from it.
        lineage = key_of(
            content | {"recipe": {**content["recipe"], "iterations": None}, "long": is_long(recipe)}
        )
        with ExitStack() as held:
            try:
                waited = held.enter_context(cache.building(lineage))
            except OSError as error:
                _warn_cache(cache, error)
                return _keyed(self.making.condense(real or self.making.read(), recipe, fingerprint), key)
            found = cache.load(key) if waited and not self.force else None
            if found is not None:
                return _keyed(Outcome.of(found), key)
            keeper = Keeper(
                cache.checkpoint(lineage),
                {"lineage": lineage, "torch": torch.__version__},
                self.making.progress,
            )
            if self.force:
                keeper.forget()
            outcome = _keyed(
                self.making.condense(real or self.making.read(), recipe, fingerprint, keeper), key
            )
            _store(cache, key, outcome)
            return outcome

    def _cacheable(self) -> bool:
        try:
            self.making.recipe.to_json()
        except specs.UnnamedCallableError as error:
            warnings.warn(f"The result will not be cached: {error}", stacklevel=2)
            return False
        return True

    def _content(self, recipe: Recipe, known: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that decides the bits of the result."""
        ranks = self.making.ranks
        return {
            "fingerprint": known["fingerprint"],
            "recipe": recipe.to_json(),
            "seed": self.making.seed,
            "groups": known["groups"],
            "precision": self.making.precision,
            "sample": [self.making.source.kind.name, list(self.making.source.kind.shape)],
            **({"shard": [ranks.rank, ranks.count]} if ranks.apart else {}),
        }


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


def _text_digest(text: str) -> str:
    return hashlib.sha256(json.dumps(["text", text]).encode()).hexdigest()
