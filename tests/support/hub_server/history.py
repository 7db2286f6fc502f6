"""A repository: files in immutable trees, commits, and the names that point to them."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Tree = Mapping[str, "File"]
_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
# what a new repository of the Hub holds; the patterns decide which files are large ones
_PATTERNS = ("parquet", "safetensors", "png", "jpg", "pt", "bin", "zip", "npy", "npz", "arrow")
ATTRIBUTES = "".join(f"*.{end} filter=lfs diff=lfs merge=lfs -text\n" for end in _PATTERNS).encode()
LARGE = re.compile(rf".*\.({'|'.join(_PATTERNS)})")


class UnknownRevisionError(KeyError):
    """No branch, tag, pull request or commit has this name."""


class StaleParentError(ValueError):
    """The branch has moved since the commit that the change was made for."""


@dataclass(frozen=True)
class File:
    """A file: its content, or, for a large one, the sha256 under which the content is kept."""

    size: int
    content: bytes = b""
    sha256: str | None = None

    @property
    def oid(self) -> str:
        """As git names it: by the content, or by the text that points to it."""
        content = self.pointer if self.sha256 else self.content
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()

    @property
    def pointer(self) -> bytes:
        return _POINTER.format(sha256=self.sha256, size=self.size).encode()

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Commit:
    """A tree, and how it came to be."""

    oid: str
    parent: Commit | None
    tree: Tree
    title: str
    message: str
    author: str
    time: float


@dataclass
class Repository:
    """All commits of one repository, and the names that point to some."""

    kind: str  # "model", "dataset" or "space"
    name: str  # "user/set"
    owner: str
    private: bool = False
    gated: bool = False
    disabled: bool = False
    guests: set[str] = field(default_factory=set)  # who was granted access to a gated repository
    created: float = field(default_factory=time.time)
    refs: dict[str, str] = field(default_factory=dict)  # "refs/heads/main" -> oid
    commits: dict[str, Commit] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _number: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.add_commit(
            "refs/heads/main", {".gitattributes": File(len(ATTRIBUTES), ATTRIBUTES)}, "initial commit"
        )

    @property
    def head(self) -> Commit:
        return self.commits[self.refs["refs/heads/main"]]

    def ref_of(self, revision: str) -> str | None:
        """The full name of the branch, tag or pull request that is called so."""
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return next((name for name in names if name in self.refs), None)

    def find(self, revision: str) -> Commit:
        """The commit that a branch, a tag, refs/pr/N or a hash names.

        Raises:
            UnknownRevisionError: if nothing has this name.
        """
        with self.lock:
            ref = self.ref_of(revision)
            oid = self.refs[ref] if ref else revision
            if oid not in self.commits:
                raise UnknownRevisionError(revision)
            return self.commits[oid]

    def history(self, revision: str) -> list[Commit]:
        """The commit and all its ancestors, newest first."""
        commit: Commit | None = self.find(revision)
        found = []
        while commit is not None:
            found.append(commit)
            commit = commit.parent
        return found

    def add_commit(
        self,
        ref: str,
        tree: Tree,
        title: str,
        *,
        message: str = "",
        author: str = "",
        parent: Commit | None = None,
    ) -> Commit:
        """Let `ref` point to a new commit of `tree`.

        Raises:
            StaleParentError: if a parent is given and `ref` points to another commit.
        """
        with self.lock:
            current = self.refs.get(ref)
            if parent is not None and current not in (None, parent.oid):
                raise StaleParentError(current)
            listing = "".join(f"{path} {file.oid}\n" for path, file in sorted(tree.items()))
            origin = (
                f"{self.kind} {self.name} {parent and parent.oid} {title} {next(self._number)} {self.created}"
            )
            oid = hashlib.sha1(f"{origin}\n{listing}".encode()).hexdigest()
            frozen = MappingProxyType(dict(tree))
            self.commits[oid] = Commit(oid, parent, frozen, title, message, author, time.time())
            self.refs[ref] = oid
            return self.commits[oid]

    def open_pull_request(self, base: Commit, tree: Tree, title: str, **about: str) -> tuple[int, Commit]:
        """Put a commit under the next refs/pr/N; gives N."""
        with self.lock:
            number = 1 + sum(ref.startswith("refs/pr/") for ref in self.refs)
            return number, self.add_commit(f"refs/pr/{number}", tree, title, parent=base, **about)
