"""Atomic file writes: a reader, a killed process or a full disk never leaves half a file behind.

What is being written has a temporary name, `.condensed-data-tmp-<machine>-<random>`, and is locked by its writer. A
lock ends with its process, however that ends, so the next writer in the same folder can tell what was abandoned, and
removes it. Process numbers would not tell: they are used again, and mean nothing on another machine.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from condensed_data.core.errors import checked_path, reason_and_remedy

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows, where age alone tells
    flock = None  # type: ignore[assignment]

TEMPORARY = ".condensed-data-tmp-"
# Locks may not reach from one machine to another on a shared disk. No write takes that long.
_ABANDONED_SECONDS = 24 * 3600
_MACHINE = re.sub(r"[^\w.]", "_", platform.node())[:40]


def write_atomically(path: Path, content: bytes) -> Path:
    """Replace the file at `path`, whose folders are created, by `content`, all of it or nothing; returns `path`.

    The content goes to a temporary file beside it, is flushed to the disk, and then takes the place of `path` in one
    rename.

    Raises:
        OSError: if the file cannot be written, with the `errno` of the cause. The previous file is then unchanged, and
            no temporary file remains.
        ValueError: if no file can have this name.
    """
    checked_path("path", path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary(path.parent) as new:
            write_durably(new, content)
            new.replace(path)
    except OSError as error:
        failure = OSError(f"Cannot write path={str(path)!r}: {reason_and_remedy(error)}.")
        failure.errno = error.errno
        raise failure from error
    return path


@contextmanager
def temporary(parent: Path, *, folder: bool = False) -> Iterator[Path]:
    """A new empty file, or a new folder, in `parent`; it is removed at the end unless it was renamed.

    Those that killed processes left in `parent` are removed first.
    """
    _remove_abandoned(parent)
    path, descriptor = _create(parent, folder)
    try:
        yield path
    finally:
        _remove(path)
        if descriptor is not None:
            os.close(descriptor)


def temporary_name() -> str:
    """A name for what may be removed at any time by the next writer in the same folder."""
    return f"{TEMPORARY}{_MACHINE}-{uuid.uuid4().hex}"


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until its content is on the disk; not atomic by itself."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Windows has no such call for folders; its renames are durable already."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _create(parent: Path, folder: bool) -> tuple[Path, int | None]:
    """The path of a new file or folder, and a descriptor that holds its lock, if there are locks."""
    while True:
        path = parent / temporary_name()
        if folder:
            path.mkdir()
        else:
            path.touch(exist_ok=False)
        if flock is None:
            return path, None
        with suppress(FileNotFoundError):  # another writer took it for abandoned before it was locked
            descriptor = _open(path)
            _locked(descriptor, wait=True)
            if path.exists():
                return path, descriptor
            os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)


def _locked(descriptor: int, *, wait: bool) -> bool | None:
    """Whether this descriptor now holds the lock of its file; None if its file system has no locks."""
    try:
        flock(descriptor, LOCK_EX | (0 if wait else LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_abandoned(parent: Path) -> None:
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY):
                with suppress(OSError):  # another writer removed it, or finished
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(path: Path) -> None:
    old = time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
    if flock is None:
        if old:
            _remove(path)
        return
    descriptor = _open(path)
    try:
        locked = _locked(descriptor, wait=False)
        own = locked and path.name.startswith(f"{TEMPORARY}{_MACHINE}-")
        if own or (old and locked is not False):
            _remove(path)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
