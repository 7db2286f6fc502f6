"""All repositories, who may read and write them, and the large files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hub_server import cards
from hub_server.exchange import HubError, Request
from hub_server.history import LARGE, Commit, File, Repository, UnknownRevisionError

LARGE_SIZE = 10 << 20
TIME = "%Y-%m-%dT%H:%M:%S.000Z"


class Hub:
    """The state of a server. Users need no account: a token names its user, `hf_alice` or `hf_alice_read`.

    Args:
        network: the content delivery network's origin.
    """

    def __init__(self, network: str) -> None:
        self.network = network
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.organizations: dict[str, set[str]] = {}
        self.revoked: set[str] = set()  # tokens that are refused
        self.large: dict[str, bytes] = {}  # by sha256
        self.parts: dict[str, dict[int, bytes]] = {}  # of incomplete uploads, by sha256
        self.multipart: int | None = None  # bytes per part; None for one piece
        self.xet: Path | None = None  # Xet's store, if any; hashes and sizes by sha256
        self.xet_hashes: dict[str, str] = {}
        self.xet_sizes: dict[str, int] = {}
        self.page = 1000  # entries per page
        self.lock = threading.RLock()

    def user_of(self, authorization: str | None) -> tuple[str | None, bool]:
        """The user of an authorization header, and whether the token may write.

        Raises:
            HubError: for a token that nobody has.
        """
        if not authorization:
            return None, False
        token = authorization.removeprefix("Bearer ")
        if not token.startswith("hf_") or token in self.revoked:
            raise HubError(401, "Invalid credentials in Authorization header")
        name, _, role = token[3:].partition("_")
        return name, role != "read"

    def may_write(self, user: str | None, owner: str) -> bool:
        return user is not None and (user == owner or user in self.organizations.get(owner, ()))

    def repository(self, request: Request, *, write: bool = False) -> Repository:
        """The repository of a request, if its sender may see it or, with `write`, change it."""
        name, kind = request.groups["repo"], request.groups.get("kind", "model")
        found = self.repositories.get((kind, name))
        if found is None or (found.private and not self.may_write(request.user, found.owner)):
            if request.user is None:
                raise HubError(401, "Invalid username or password.")
            raise HubError(404, "Repository not found", "RepoNotFound")
        if found.disabled:
            raise HubError(403, "Access to this resource is disabled.")
        if write:
            self.check_writing(request, found.owner)
        return found

    def check_writing(self, request: Request, owner: str) -> None:
        if request.user is None:
            raise HubError(401, "Invalid username or password.")
        if not self.may_write(request.user, owner):
            raise HubError(403, f"You don't have the rights to write to the namespace {owner!r}")
        if not request.may_write:
            raise HubError(403, "This token has no write permission")

    def readable(self, request: Request) -> Repository:
        """The repository of a request, if its sender may read its files."""
        repository = self.repository(request)
        allowed = request.user in repository.guests or self.may_write(request.user, repository.owner)
        if repository.gated and not allowed:
            restricted = f"Access to dataset {repository.name} is restricted"
            if request.user is None:
                raise HubError(401, f"{restricted}. You must be authenticated to access it.", "GatedRepo")
            raise HubError(403, f"{restricted} and you are not in the authorized list.", "GatedRepo")
        return repository

    def content(self, file: File) -> bytes:
        return self.large[file.sha256] if file.sha256 else file.content

    def store(self, path: str, content: bytes) -> File:
        """A file as the Hub would keep it under this path."""
        if not self.is_large(path, content[:512], len(content)):
            return File(len(content), content)
        digest = hashlib.sha256(content).hexdigest()
        self.large[digest] = content
        return File(len(content), sha256=digest)

    @staticmethod
    def is_large(path: str, sample: bytes, size: int) -> bool:
        return bool(LARGE.fullmatch(path.lower())) or b"\0" in sample or size >= LARGE_SIZE

    def search(self, kind: str, user: str | None, wanted: Mapping[str, Iterable[str]]) -> list[Repository]:
        """Repositories with all these tags, this author, and this text in the name; newest first."""
        found = []
        with self.lock:
            repositories = list(self.repositories.values())
        for repository in repositories:
            if repository.kind != kind or repository.disabled:
                continue
            if repository.private and not self.may_write(user, repository.owner):
                continue
            tags = self.tags(repository.head)
            if not set(wanted.get("filter", ())) <= set(tags):
                continue
            if any(author != repository.owner for author in wanted.get("author", ())):
                continue
            if all(text.lower() in repository.name.lower() for text in wanted.get("search", ())):
                found.append(repository)
        return sorted(found, key=lambda repository: (-repository.head.time, repository.name))

    def tags(self, commit: Commit) -> list[str]:
        return cards.tags(self.card(commit))

    def card(self, commit: Commit) -> dict[str, Any]:
        readme = commit.tree.get("README.md")
        if readme is None or readme.sha256:
            return {}
        try:
            return cards.read(readme.content)
        except cards.CardError:
            return {}


def commit_of(repository: Repository, revision: str) -> Commit:
    """The commit that a revision names, or the Hub's error."""
    try:
        return repository.find(revision)
    except UnknownRevisionError as error:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound") from error
