"""Finds condensed datasets on the Hub: repositories by tag, and datasets of a repository by cache key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from condensed_data.core.errors import ArtifactError
from condensed_data.core.hub_errors import HubNotFoundError, translate_hub_errors
from condensed_data.storage import strict_json
from condensed_data.storage.dataset_card import source_tag
from condensed_data.storage.hub.client import check_text, client
from condensed_data.storage.hub.pull import PullResult, load
from condensed_data.storage.hub.repository import Access, RepositorySnapshot
from condensed_data.storage.hub.retry import with_retries

TAG = "condensed-data"


@dataclass(frozen=True)
class SearchResult:
    """A repository with condensed datasets, as described by its tags."""

    repo_id: str
    commit: str | None  # head of its default branch, or None if the Hub does not return it
    sources: tuple[str, ...]  # names of the condensed sources, letters and digits only
    recipes: tuple[str, ...]
    ipcs: tuple[int, ...]
    private: bool
    downloads: int
    likes: int


def find(
    *,
    source: str | None = None,
    recipe: str | None = None,
    ipc: int | None = None,
    author: str | None = None,
    limit: int | None = 100,
    token: str | bool | None = None,
) -> list[SearchResult]:
    """Find repositories whose tags match, most downloaded first.

    Args:
        source: name of the dataset that was condensed, such as "fashion-mnist"; only letters and digits are compared.
        recipe: name of the recipe.
        ipc: samples per class.
        author: user or organization.
        limit: maximum number of repositories; None for all.
        token: Hub token; None uses the stored one, False none.

    Raises:
        HubUnavailableError: without network.
    """
    for argument, text in (("source", source), ("recipe", recipe), ("author", author)):
        check_text(argument, text)
    wanted = [TAG]
    wanted += [] if source is None else [source_tag(source)]
    wanted += [] if recipe is None else [recipe]
    wanted += [] if ipc is None else [f"ipc-{ipc}"]
    with translate_hub_errors("Search for condensed datasets"):
        listed = client(token).list_datasets(filter=wanted, author=author, sort="downloads", limit=limit, full=True)
        found = [item for item in listed if set(wanted) <= set(item.tags or ())]
    return [_search_result(item) for item in found]


def _search_result(item: Any) -> SearchResult:
    from condensed_data.methods import recipes

    tags, known = list(item.tags or ()), set(recipes.names())
    return SearchResult(
        repo_id=item.id,
        commit=item.sha,
        sources=_tag_values("source-", tags),
        recipes=tuple(tag for tag in tags if tag in known),
        ipcs=tuple(sorted(int(text) for text in _tag_values("ipc-", tags) if re.fullmatch("[0-9]{1,9}", text))),
        private=bool(item.private),
        downloads=item.downloads or 0,
        likes=item.likes or 0,
    )


def _tag_values(prefix: str, tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))


def lookup(repo_id: str, key: str, content: Mapping[str, Any]) -> PullResult | None:
    """Load the dataset with a cache key from a repository, or None if there is none.

    Args:
        repo_id: repository to search; one that does not exist or is not visible counts as empty.
        key: cache key of the build, computed from `content`; see `storage.cache.cache_key`.

    Raises:
        HubError: the same errors as `pull`.
        ArtifactError: if the dataset with this key cannot be read or contradicts `content`.
    """
    try:
        snapshot = with_retries(lambda: RepositorySnapshot.resolve(repo_id, None, Access(), fresh=True), repo_id)
    except HubNotFoundError:
        return None
    found = with_retries(lambda: next((item for item in _configs_with_keys(snapshot) if item[1] == key), None), repo_id)
    if found is None:
        return None
    config, _, manifest = found
    _check_key(f"{repo_id}, config {config!r} at {snapshot.commit}", manifest, content)
    return load(snapshot, config, manifest)


def keys(repo_id: str, *, token: str | bool | None = None) -> dict[str, str]:
    """The configs in a repository by the cache key of their build (`metadata.key`).

    Args:
        repo_id: repository to search; one that does not exist or is not visible counts as empty.
        token: Hub token; None uses the stored one, False none.

    Raises:
        HubError: the same errors as `pull`.
    """
    with translate_hub_errors(repo_id):
        try:
            snapshot = RepositorySnapshot.resolve(repo_id, None, Access(token))
        except HubNotFoundError:
            return {}
        return {key: config for config, key, _ in _configs_with_keys(snapshot)}


def _configs_with_keys(snapshot: RepositorySnapshot) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Config, cache key and manifest of every dataset that has a cache key."""
    for config in snapshot.configs():
        try:
            manifest = snapshot.manifest(config)
        except ArtifactError:  # unreadable: its key is unknown
            continue
        if manifest is not None and isinstance(manifest.get("cache_key"), str):
            yield config, manifest["cache_key"], manifest


def _check_key(where: str, manifest: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Check that a manifest agrees with what its cache key was computed from."""
    stored = {
        "fingerprint": manifest["source"]["fingerprint"],
        "recipe": manifest["recipe"],
        "seed": manifest["seed"],
        "sample": [manifest["sample_kind"], manifest["shape"]],
    }
    for name, value in stored.items():
        if strict_json.compact(value) != strict_json.compact(content[name]):
            raise ArtifactError(
                f"{where} has the cache key of this build but a different {name}, so it was not loaded. Tell "
                "the owner of the repository, or omit hub= (--hub)."
            )
