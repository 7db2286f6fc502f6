"""The local cache: finished condensations, memos of fingerprints, and checkpoints of builds under way.

    <root>/sets/<key>/         an artifact, the same files as on the Hub
    <root>/builds/<lineage>/   the checkpoint of a run, and a lock while somebody builds; runs that differ in their
                               number of iterations alone share it, so that a longer one goes on where one ended
    <root>/memos/<digest>      the fingerprint of a dataset that was read before
    <root>/damaged/<key>-<n>/  entries whose checksums failed, put aside
    <root>/networks/           networks trained on real samples, see `learning.trained`

An entry appears by one rename, after every byte of it is on the disk; a build holds the lock of its key, so that
several processes build one key once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from condensed_data.core.errors import ArtifactError
from condensed_data.core.sizes import parse_bytes
from condensed_data.storage import artifact as artifact

KEY_VERSION = 1


def default_root() -> Path:
    """`CONDENSED_DATA_CACHE`, or the assets folder of the Hugging Face cache."""
    if chosen := os.environ.get("CONDENSED_DATA_CACHE"):
        return Path(chosen).expanduser()
    from huggingface_hub.constants import HF_ASSETS_CACHE

    return Path(HF_ASSETS_CACHE) / "condensed-data"


def default_limit() -> int | None:
    """`CONDENSED_DATA_CACHE_LIMIT` (such as "10GB"), or None for no limit.

    Raises:
        ValueError: where it is no number of bytes.
    """
    text = os.environ.get("CONDENSED_DATA_CACHE_LIMIT")
    return parse_bytes(text) if text else None


def key_of(content: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of everything that decides the bits of a result."""
    text = json.dumps({"key_version": KEY_VERSION, **content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """One finished condensation in the cache."""

    key: str
    path: Path
    title: str
    size: int
    used: float

    @property
    def age_seconds(self) -> float:
        """Since it was last built or loaded."""
        return max(0.0, time.time() - self.used)


@dataclass(frozen=True)
class Cache:
    """A cache in a folder.

    Args:
        root: folder of the cache; made when something is stored.
        max_bytes: after every build, the least recently used entries go until the rest fits; None for no limit.
    """

    root: Path
    max_bytes: int | None = None

    def load(self, key: str) -> artifact.Artifact | None:
        """The entry, or None where there is none; a damaged one is put aside, said, and counts as none."""
        path = self.root / "sets" / key
        if not path.is_dir():
            return None
        try:
            found = artifact.read(path)
        except ArtifactError as error:
            aside = self._aside(key)
            warnings.warn(
                f"A cached set is damaged and will be built again: {error} It is kept in {aside}.",
                stacklevel=2,
            )
            return None
        self._touch(path)
        return found

    def place(self, key: str) -> Path:
        """Where the finished artifact of `key` is written (by a writer that replaces a folder as a whole)."""
        return self.root / "sets" / key

    def checkpoint(self, lineage: str) -> Path:
        """Where the runs of `lineage` keep their checkpoint."""
        return self.root / "builds" / lineage / "checkpoint.safetensors"

    def finish(self, key: str) -> None:
        """After the artifact of `key` is written: keep the cache within its limit."""
        self._touch(self.place(key))
        self.evict(keep=key)

    @contextmanager
    def building(self, lineage: str) -> Iterator[bool]:
        """Hold the lock of `lineage`. Gives True where another process held it first and may have built by now.

        Raises:
            OSError: where the cache cannot be written.
        """
        folder = self.root / "builds" / lineage
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        waited = False
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waited = True
            print(f"Another process is building this set; waiting for it ({folder}).", flush=True)
            lock.acquire()
        try:
            yield waited
        finally:
            lock.release()

    def recall(self, digest: str) -> dict[str, Any] | None:
        """What was noted for a digest: the fingerprint, the classes and the number of samples."""
        try:
            source_info = json.loads((self.root / "memos" / digest).read_text())
        except (OSError, ValueError):
            return None
        return source_info if isinstance(source_info, dict) and "fingerprint" in source_info else None

    def note(self, digest: str, source_info: Mapping[str, Any]) -> None:
        """Remember the facts of a digest."""
        folder = self.root / "memos"
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{digest}.{os.getpid()}"
        partial.write_text(json.dumps(dict(source_info)))
        os.replace(partial, folder / digest)

    def entries(self) -> list[Entry]:
        """All entries, the most recently used first."""
        found = []
        for path in (self.root / "sets").glob("*"):
            if (path / artifact.MANIFEST).is_file() and not path.name.startswith("."):
                size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                found.append(Entry(path.name, path, _title(path), size, path.stat().st_mtime))
        return sorted(found, key=lambda entry: -entry.used)

    @property
    def scratch_bytes(self) -> int:
        """What checkpoints, memos, trained networks and damaged entries take."""
        folders = (self.root / name for name in ("builds", "memos", "damaged", "networks"))
        return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())

    def clear(self, key: str | None = None) -> int:
        """Remove one entry, or everything; the number of entries removed."""
        gone = [entry for entry in self.entries() if key is None or entry.key.startswith(key)]
        for entry in gone:
            _remove(entry.path)
        if key is None:
            for name in ("builds", "memos", "damaged", "networks", "sets"):
                shutil.rmtree(self.root / name, ignore_errors=True)
        return len(gone)

    def evict(self, keep: str = "") -> None:
        """Remove the least recently used entries until the rest fits `max_bytes`."""
        if self.max_bytes is None:
            return
        total = 0
        for entry in self.entries():
            total += entry.size
            if total > self.max_bytes and entry.key != keep:
                _remove(entry.path)
                total -= entry.size

    def _aside(self, key: str) -> Path:
        folder = self.root / "damaged"
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{key}-{len(list(folder.glob(key + '-*')))}"
        os.replace(self.root / "sets" / key, aside)
        return aside

    def _touch(self, path: Path) -> None:
        with suppress(OSError):  # a read-only cache still serves; it only forgets the order of use
            os.utime(path)


def _remove(path: Path) -> None:
    """Out of sight by one rename, then deleted."""
    gone = path.with_name(f".gone-{path.name}-{os.getpid()}")
    os.replace(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _title(path: Path) -> str:
    try:
        manifest = json.loads((path / artifact.MANIFEST).read_text())
        return f"{manifest['name']} {manifest['recipe_name']} ipc {manifest['ipc']} seed {manifest['seed']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "unreadable"
