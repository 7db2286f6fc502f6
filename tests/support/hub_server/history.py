"""A repository: files in immutable trees, commits, and refs."""

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
# content of a new repository on the Hub; the patterns decide which files are large files
_PATTERNS = ("parquet", "safetensors", "png", "jpg", "pt", "bin", "zip", "npy", "npz", "arrow")
ATTRIBUTES = "".join(f"*.{end} filter=lfs diff=lfs merge=lfs -text\n" for end in _PATTERNS).encode()
LARGE = re.compile(rf".*\.({'|'.join(_PATTERNS)})")


class UnknownRevisionError(KeyError):
    """No branch, tag, pull request or commit has this name."""


class StaleParentError(ValueError):
    """The branch has moved since the commit that the change was made for."""


@dataclass(frozen=True)
class File:
    """A file: its content, or the sha256 of the content of a large file."""

    size: int
    content: bytes = b""
    sha256: str | None = None

    @property
    def oid(self) -> str:
        """Object id as in git: of the content, or of the pointer text."""
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
    """All commits of one repository, and its refs."""

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
        self.add_commit("refs/heads/main", {".gitattributes": File(len(ATTRIBUTES), ATTRIBUTES)}, "initial commit")

    @property
    def head(self) -> Commit:
        return self.commits[self.refs["refs/heads/main"]]

    def ref_of(self, revision: str) -> str | None:
        """The full name of a branch, tag or pull request."""
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
        """Add a commit of `tree` and move `ref` to it.

        Raises:
            StaleParentError: if a parent is given and `ref` points to another commit.
        """
        with self.lock:
            current = self.refs.get(ref)
            if parent is not None and current not in (None, parent.oid):
                raise StaleParentError(current)
            listing = "".join(f"{path} {file.oid}\n" for path, file in sorted(tree.items()))
            origin = f"{self.kind} {self.name} {parent and parent.oid} {title} {next(self._number)} {self.created}"
            oid = hashlib.sha1(f"{origin}\n{listing}".encode()).hexdigest()
            frozen = MappingProxyType(dict(tree))
            self.commits[oid] = Commit(oid, parent, frozen, title, message, author, time.time())
            self.refs[ref] = oid
            return self.commits[oid]

    def open_pull_request(self, base: Commit, tree: Tree, title: str, **about: str) -> tuple[int, Commit]:
        """Add a commit at the next refs/pr/N; returns N."""
        with self.lock:
            number = 1 + sum(ref.startswith("refs/pr/") for ref in self.refs)
            return number, self.add_commit(f"refs/pr/{number}", tree, title, parent=base, **about)
