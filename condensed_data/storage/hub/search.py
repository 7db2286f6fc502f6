"""Find condensed sets on the Hub: by their tags, or one of a repository by the key of a build."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from condensed_data.core.errors import ArtifactError
from condensed_data.core.hub_errors import HubNotFoundError, translate_hub_errors
from condensed_data.storage import strict_json
from condensed_data.storage.dataset_card import source_tag
from condensed_data.storage.hub.pull import Pulled, load
from condensed_data.storage.hub.repository import Remote, client
from condensed_data.storage.hub.retry import with_retries

TAG = "condensed-data"


@dataclass(frozen=True)
class Published:
    """A repository with condensed sets, as its tags tell.

    Attributes:
        repo_id: "user/name".
        commit: head of its default branch, or None where the Hub does not say it.
        sources: names of what was condensed, letters and digits only; recipes; ipcs: samples per class.
        private: whether only some may see it.
        downloads, likes: as the Hub counts them.
    """

    repo_id: str
    commit: str | None
    sources: tuple[str, ...]
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
) -> list[Published]:
    """Repositories whose tags say that they hold such sets; the most downloaded first.

    Args:
        source: name of the data set that was condensed, such as "fashion-mnist"; of its spelling only letters and
            digits count.
        recipe, ipc: of a set; author: user or organization.
        limit: at most so many; None for all.

    Raises:
        HubUnavailableError: without network.
    """
    wanted = [TAG]
    wanted += [] if source is None else [source_tag(source)]
    wanted += [] if recipe is None else [recipe]
    wanted += [] if ipc is None else [f"ipc-{ipc}"]
    with translate_hub_errors("Search for condensed sets"):
        listed = client(token).list_datasets(
            filter=wanted, author=author, sort="downloads", limit=limit, full=True
        )
        found = [item for item in listed if set(wanted) <= set(item.tags or ())]
    return [_published(item) for item in found]


def _published(item: Any) -> Published:
    from condensed_data.methods import recipes

    tags = list(item.tags or ())
    known = set(recipes.names())
    return Published(
        repo_id=item.id,
        commit=item.sha,
        sources=_behind("source-", tags),
        recipes=tuple(tag for tag in tags if tag in known),
        ipcs=tuple(sorted(int(text) for text in _behind("ipc-", tags) if re.fullmatch("[0-9]{1,9}", text))),
        private=bool(item.private),
        downloads=item.downloads or 0,
        likes=item.likes or 0,
    )


def _behind(prefix: str, tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))


def lookup(
    repo_id: str, key: str, content: Mapping[str, Any], *, token: str | bool | None = None
) -> Pulled | None:
    """The set of a repository that a build of this key would give, or None where there is none.

    Args:
        repo_id: repository to look in; one that is not there, or not visible, has none.
        key: of the build, see `storage.cache.key_of`; content: what it is the key of.

    Raises:
        HubError: as `pull` does.
        ArtifactError: where the set that has the key cannot be read, or is not what the key says.
    """
    try:
        remote = with_retries(lambda: Remote.at(repo_id, None, token=token, fresh=True), repo_id)
    except HubNotFoundError:
        return None
    found = with_retries(lambda: _with_key(remote, key), repo_id)
    if found is None:
        return None
    config, manifest = found
    _check(f"{repo_id}, config {config!r} at {remote.commit}", manifest, content)
    return load(remote, config, manifest)


def keys(repo_id: str, *, token: str | bool | None = None) -> dict[str, str]:
    """The configs of the sets in a repository, by the keys of their builds (`metadata.key`).

    Args:
        repo_id: repository to look in; one that is not there, or not visible, has none.

    Raises:
        HubError: as `pull` does.
    """
    with translate_hub_errors(repo_id):
        try:
            remote = Remote.at(repo_id, None, token=token)
        except HubNotFoundError:
            return {}
        return {key: config for config, key, _ in _keyed(remote)}


def _with_key(remote: Remote, key: str) -> tuple[str, dict[str, Any]] | None:
    for config, found, manifest in _keyed(remote):
        if found == key:
            return config, manifest
    return None


def _keyed(remote: Remote) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Config, key and manifest of every set that has a key."""
    for config in remote.configs():
        try:
            manifest = remote.manifest(config)
        except ArtifactError:  # nobody can tell what it is
            continue
        if manifest is not None and isinstance(manifest.get("cache_key"), str):
            yield config, manifest["cache_key"], manifest


def _check(where: str, manifest: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """A manifest that claims a key must tell the same of what the key is made of.

    Raises:
        ArtifactError: naming what differs.
    """
    told = {
        "fingerprint": manifest["source"]["fingerprint"],
        "recipe": manifest["recipe"],
        "seed": manifest["seed"],
        "sample": [manifest["sample_kind"], manifest["shape"]],
    }
    for name, value in told.items():
        if strict_json.compact(value) != strict_json.compact(content[name]):
            raise ArtifactError(
                f"{where} claims the key of this build, and its {name} is another. It is not taken; tell the owner."
            )
