"""The local cache: condensed datasets, fingerprints of sources, and checkpoints of runs in progress.

    <root>/datasets/<key>/     an artifact, the same files as on the Hub
    <root>/builds/<lineage>/   the checkpoints of a run, and a lock while a process condenses; runs that differ only in
                               their number of iterations share them, so that a longer run continues a shorter one
    <root>/sources/<digest>    fingerprint, classes and size of a source that was read before
    <root>/corrupt/<key>-<n>/  entries whose checksums failed
    <root>/networks/           networks trained on real samples, see `training.pretrained_cache`

An entry appears by one rename, after all of it is on the disk. A build holds the lock of its lineage, so that several
processes condense the same dataset only once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from condensed_data.core.atomic import temporary_name, write_atomically
from condensed_data.core.caller_warnings import warn_caller
from condensed_data.core.errors import ArtifactError, UnsupportedFormatError
from condensed_data.core.sizes import parse_bytes
from condensed_data.storage.file_names import MANIFEST
from condensed_data.storage.result import CondensationResult

KEY_VERSION = 1
_SCRATCH = ("builds", "sources", "corrupt", "networks")  # folders of everything but condensed datasets


def default_root() -> Path:
    """The folder in `CONDENSED_DATA_CACHE`, or one in the assets folder of the Hugging Face cache."""
    if chosen := os.environ.get("CONDENSED_DATA_CACHE"):
        return Path(chosen).expanduser()
    from huggingface_hub.constants import HF_ASSETS_CACHE

    return Path(HF_ASSETS_CACHE) / "condensed-data"


def default_limit() -> int | None:
    """Bytes given by `CONDENSED_DATA_CACHE_LIMIT` (such as "10GB"), or None for no limit.

    Raises:
        ValueError: if the variable is not a size in bytes.
    """
    text = os.environ.get("CONDENSED_DATA_CACHE_LIMIT")
    return parse_bytes(text) if text else None


def cache_key(content: Mapping[str, Any]) -> str:
    """Key of a result: sha256 of the canonical JSON of everything that determines its bits."""
    return _sha256({"key_version": KEY_VERSION, **content})


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class CacheEntry:
    """A condensed dataset in the cache, described in one line by its title."""

    key: str
    path: Path
    title: str
    size: int  # in bytes
    last_used: float  # seconds since the epoch at which it was last built or loaded

    @property
    def age_seconds(self) -> float:
        """Seconds since the entry was last built or loaded."""
        return max(0.0, time.time() - self.last_used)


@dataclass(frozen=True)
class Cache:
    """A cache in the folder `root`, which is created on the first write.

    After every build the least recently used entries are removed until the rest fits `max_bytes` (None for no limit).
    """

    root: Path
    max_bytes: int | None = None

    def load(self, key: str) -> CondensationResult | None:
        """The entry of `key`, or None if there is none.

        For an entry that cannot be read a warning is issued and None is returned; unless another release wrote it, it
        is moved aside.
        """
        path = self.entry_path(key)
        if not path.is_dir():
            return None
        try:
            found = CondensationResult.load(path)
        except UnsupportedFormatError as error:
            warn_caller(f"A cached dataset cannot be read and is condensed again: {error}")
            return None
        except ArtifactError as error:
            aside = self._move_aside(key)
            warn_caller(f"A cached dataset cannot be read and is condensed again: {error} Its files {aside}.")
            return None
        _touch(path)
        return found

    def entry_path(self, key: str) -> Path:
        """Folder for the artifact of `key`; `storage.artifact.write` replaces it as a whole."""
        return self.root / "datasets" / key

    def build_folder(self, lineage: str) -> Path:
        """Folder of the checkpoints of the runs of `lineage`."""
        return self.root / "builds" / lineage

    def finish(self, key: str) -> None:
        """Mark `key` as just used and enforce the size limit; call it after writing the artifact."""
        _touch(self.entry_path(key))
        self.evict(keep=key)

    @contextmanager
    def lock(self, lineage: str) -> Iterator[bool]:
        """Hold the lock of `lineage`. Yields True if another process had the lock first and may have built the result.

        Raises:
            OSError: if the cache cannot be written.
        """
        folder = self.build_folder(lineage)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        waited = False
        try:
            lock.acquire(blocking=False)
        except Timeout:
            waited = True
            print(f"Another process is condensing this dataset; waiting for it to finish ({folder}).", flush=True)
            lock.acquire()
        try:
            yield waited
        finally:
            lock.release()

    def source_info(self, digest: str) -> dict[str, Any] | None:
        """What `save_source_info` stored for a digest, or None: fingerprint, classes and number of samples."""
        try:
            stored = json.loads((self.root / "sources" / digest).read_text())
            found: dict[str, Any] = stored["info"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if stored.get("sha256") == _sha256(found) else None

    def save_source_info(self, digest: str, source_info: Mapping[str, Any]) -> None:
        """Store what is known about the source with this digest."""
        stored = {"info": source_info, "sha256": _sha256(source_info)}
        write_atomically(self.root / "sources" / digest, json.dumps(stored).encode())

    def entries(self) -> list[CacheEntry]:
        """All entries, most recently used first."""
        found = []
        for path in (self.root / "datasets").glob("*"):
            if (path / MANIFEST).is_file() and not path.name.startswith("."):
                size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                found.append(CacheEntry(path.name, path, _title(path), size, path.stat().st_mtime))
        return sorted(found, key=lambda entry: -entry.last_used)

    @property
    def scratch_bytes(self) -> int:
        """Bytes used by checkpoints, source fingerprints, trained networks and corrupt entries."""
        folders = (self.root / name for name in _SCRATCH)
        return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())

    def clear(self, key: str | None = None) -> int:
        """Remove the entries whose key starts with `key`, or everything if None; returns the number of entries."""
        removed = [entry for entry in self.entries() if key is None or entry.key.startswith(key)]
        for entry in removed:
            _remove(entry.path)
        if key is None:
            for name in ("datasets", *_SCRATCH):
                shutil.rmtree(self.root / name, ignore_errors=True)
        return len(removed)

    def evict(self, keep: str = "") -> None:
        """Remove the least recently used entries until the rest fits `max_bytes`; the entry `keep` stays."""
        if self.max_bytes is None:
            return
        total = 0
        for entry in self.entries():
            total += entry.size
            if total > self.max_bytes and entry.key != keep:
                _remove(entry.path)
                total -= entry.size

    def _move_aside(self, key: str) -> str:
        """Where the files of an entry are now, as the end of a sentence."""
        folder = self.root / "corrupt"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f"{key}-{len(list(folder.glob(key + '-*')))}"
            os.replace(self.entry_path(key), aside)
        except OSError as error:
            return f"stay in {self.entry_path(key)}, because they could not be moved ({error.strerror})"
        return f"were moved to {aside}"


def _touch(path: Path) -> None:
    with suppress(OSError):  # a read-only cache still works; only the order of use is lost
        os.utime(path)


def _remove(path: Path) -> None:
    """Hide the folder by one rename, then delete it; if this process is killed, the next writer does."""
    gone = path.with_name(temporary_name())
    os.replace(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _title(path: Path) -> str:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        return f"{manifest['name']} {manifest['recipe_name']} ipc {manifest['ipc']} seed {manifest['seed']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "unreadable"
