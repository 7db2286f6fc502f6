"""The files of a condensed dataset: their names, opening them, and replacing all of them at once.

A directory that does not exist yet appears by one rename of a finished sibling. In one that exists, only our
own names may change, and other files must stay where they are, so it cannot be swapped as a whole: the new
files are prepared in a subdirectory, and the rename of that to `.condensed-data.pending` is the moment at
which they become the content. From then on every reader looks there first, so the order in which the files
are moved to their places, and whether the mover is killed on the way, changes nothing; the next one finishes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from condensed_data.core.errors import ArtifactError, SaveError, mismatch_message, save_error

README = "README.md"
MANIFEST = "condensed.json"
TENSORS = "condensed.safetensors"
PREVIEW = "data/train-00000-of-00001.parquet"
PENDING = ".condensed-data.pending"

_OWNED = (TENSORS, PREVIEW, README, MANIFEST)
_GONE = ".gone"  # a pending file of this suffix says that the file without it is to be removed
_ABANDONED_SECONDS = 3600
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
_ATTEMPTS = 100  # at a rename that other writers of the same directory get in the way of


def open_regular(directory: Path, name: str) -> BinaryIO:
    """Open the current version of one of our files for reading.

    Raises:
        FileNotFoundError: if there is none.
        ArtifactError: for a pipe, device or directory; opening never blocks on one.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(directory / PENDING / name, flags)
    except (FileNotFoundError, NotADirectoryError):
        descriptor = os.open(directory / name, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactError(
            mismatch_message(directory / name, "something else than a file", "a regular file")
        )
    return os.fdopen(descriptor, "rb")


def sha256(file: BinaryIO) -> str:
    """Digest of the whole `file` in constant memory; its position is the beginning afterwards."""
    digest, buffer = hashlib.sha256(), bytearray(1 << 20)
    file.seek(0)
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(memoryview(buffer)[:count])
    file.seek(0)
    return digest.hexdigest()


def check_writable(directory: Path | str) -> None:
    """Find out before long work whether a condensed dataset can be saved to `directory`; changes nothing.

    Raises:
        SaveError: if it cannot, naming the directory, the cause and the remedy.
    """
    directory = Path(os.path.abspath(directory))
    with saving(directory):
        _refuse_conflicts(directory)
        nearest = directory
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        probe = _temporary(nearest, directory.name)
        probe.mkdir()
        probe.rmdir()


@contextmanager
def saving(directory: Path) -> Iterator[None]:
    """Turn every operating system error inside into a `SaveError` about `directory`."""
    try:
        yield
    except OSError as error:
        raise save_error(directory, error) from error


def replace_all(directory: Path, contents: Mapping[str, bytes | None]) -> None:
    """Make `contents` the files of `directory`: all of them, or none if anything fails or the process dies.

    Args:
        directory: absolute; created with its parents if it does not exist. Other files in it are left alone.
        contents: what each of our files holds from now on; None removes it.

    Raises:
        OSError: nothing was changed.
        SaveError: the same, for a file of somebody else that is in the way.
    """
    _refuse_conflicts(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    exists = directory.exists()
    home = directory if exists else directory.parent
    _remove_abandoned(home, directory.name)
    staged = _temporary(home, directory.name)
    try:
        _fill(staged, contents, markers=exists)
        _commit(staged, directory)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _temporary(home: Path, name: str) -> Path:
    return home / f".{name}.tmp-{uuid.uuid4().hex}"


def _remove_abandoned(home: Path, name: str) -> None:
    """Remove what killed writers left; a living one is done long before its files are an hour old."""
    with os.scandir(home) as entries:
        left = [Path(entry) for entry in entries if entry.name.startswith(f".{name}.tmp-")]
    for path in left:
        with suppress(FileNotFoundError):  # another writer removes it too, or finishes
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _refuse_conflicts(directory: Path) -> None:
    """Nothing of another kind may stand where our files go, nor another's table where our preview goes."""
    for name in (*_OWNED, str(Path(PREVIEW).parent)):
        path = directory / name
        if path.exists() and path.is_dir() != (name not in _OWNED):
            raise FileExistsError(errno.EEXIST, "in the way", str(path))
    if (directory / PREVIEW).exists() and not (directory / MANIFEST).exists():
        raise FileExistsError(errno.EEXIST, "not ours", str(directory / PREVIEW))


def _fill(staged: Path, contents: Mapping[str, bytes | None], *, markers: bool) -> None:
    """Write everything below `staged` and make it durable."""
    staged.mkdir()
    for name, content in contents.items():
        if content is None and not markers:
            continue
        path = staged / (name if content is not None else name + _GONE)
        path.parent.mkdir(exist_ok=True)
        with path.open("xb") as file:
            file.write(content or b"")
            file.flush()
            os.fsync(file.fileno())
    for folder in {staged, *(path for path in staged.iterdir() if path.is_dir())}:
        _sync(folder)


def _commit(staged: Path, directory: Path) -> None:
    if not directory.exists():
        try:
            staged.rename(directory)
        except OSError as error:  # somebody was faster: go on as with a directory that was there
            if error.errno not in _OCCUPIED:
                raise
        else:
            _sync(directory.parent)
            return
    _finish(directory)
    for attempt in range(_ATTEMPTS):
        try:
            staged.rename(directory / PENDING)
            break
        except OSError as error:  # another writer was faster
            if error.errno not in _OCCUPIED or attempt == _ATTEMPTS - 1:
                raise
            _finish(directory)
    _sync(directory)
    _finish(directory)


def _finish(directory: Path) -> None:
    """Move pending files to their places. Several writers may do so at once; one of them moves each file.

    What another writer has pending by now, or what is not ours, stays.
    """
    pending = directory / PENDING
    if not pending.exists():
        return
    try:
        for name in _OWNED:
            _settle(pending, directory, name)
        for folder in (pending / Path(PREVIEW).parent, pending):
            with suppress(FileNotFoundError):
                folder.rmdir()
    except OSError as error:
        if error.errno in _OCCUPIED:
            return
        raise SaveError(
            f"The condensed dataset is saved in {pending} and is read from there, but its files could not "
            f"move to {directory}: {error}. Remove the cause and save again."
        ) from error
    _sync(directory)


def _settle(pending: Path, directory: Path, name: str) -> None:
    with suppress(FileNotFoundError):
        (pending / name).lstat()
        (directory / name).parent.mkdir(exist_ok=True)
        os.replace(pending / name, directory / name)
    with suppress(FileNotFoundError):
        (pending / (name + _GONE)).lstat()
        (directory / name).unlink(missing_ok=True)
        (pending / (name + _GONE)).unlink()
        with suppress(OSError):  # a folder that is not empty, or the directory itself
            (directory / name).parent.rmdir()


def _sync(folder: Path) -> None:
    """Make the names in `folder` durable; Windows has no such call for folders, its renames are."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
