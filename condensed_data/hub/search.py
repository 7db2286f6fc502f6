"""Find condensed sets on the Hub: by their tags, or one of a repository by the key of a build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from condensed_data.hub.pull import Pulled


@dataclass(frozen=True)
class Published:
    """A repository with condensed sets, as its tags tell.

    Attributes:
        repo_id: "user/name".
        commit: head of its default branch.
        sources, recipes: names, ipcs: samples per class, of the sets in it.
        private: whether only some may see it.
        downloads, likes: as the Hub counts them.
    """

    repo_id: str
    commit: str
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
        source: name of the data set that was condensed, such as "fashion-mnist"; spelling and case of letters
            and digits alone count.
        recipe, ipc: of a set; author: user or organisation.
        limit: at most so many; None for all.

    Raises:
        HubUnavailableError: without network.
    """
    raise NotImplementedError


def lookup(
    repo_id: str, key: str, content: Mapping[str, Any], *, token: str | bool | None = None
) -> Pulled | None:
    """The set of a repository that a build of this key would give, or None where there is none.

    Args:
        repo_id: repository to look in.
        key: of the build, see `storage.cache.key_of`; content: what it is the key of.

    Raises:
        HubError, ArtefactError: as `pull` does; a repository that is not there counts as no set.
    """
    raise NotImplementedError
