"""Replaces all files of a condensed dataset in one atomic step, and opens them safely.

A new directory appears by one rename of a finished sibling. An existing directory cannot be swapped as a whole,
because it may contain unrelated files that must stay. The new files are therefore written to a subdirectory, and
renaming that to `.condensed-data.pending` is the moment at which they become the content. From then on every reader
looks there first, so neither the order in which the files are moved to their final places nor a kill halfway matters;
the next writer finishes the moves.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from condensed_data.core.atomic import sync_folder, temporary, write_durably
from condensed_data.core.errors import ArtifactError, SaveError, checked_path, save_error
from condensed_data.storage.file_names import MANIFEST, PREVIEW, README, TENSORS

PENDING = ".condensed-data.pending"

_OWNED = (TENSORS, PREVIEW, README, MANIFEST)
_REMOVED = ".gone"  # a pending file with this suffix marks the file without it for removal
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
_ATTEMPTS = 100  # at a rename that competes with other writers of the same directory


def open_regular(directory: Path, name: str) -> BinaryIO:
    """Open the current version of a file of the dataset for reading.

    Raises:
        FileNotFoundError: if it does not exist.
        ArtifactError: for a pipe, device or directory, on which opening never blocks, or a file that cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        try:
            descriptor = os.open(directory / PENDING / name, flags)
        except (FileNotFoundError, NotADirectoryError):
            descriptor = os.open(directory / name, flags)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        remedy = "Correct its permissions, or the link or name that leads to it."
        raise ArtifactError.mismatch(
            directory / name, f"an error ({error.strerror})", "a readable file", remedy
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactError.mismatch(directory / name, "a pipe, device or directory", "a regular file")
    return os.fdopen(descriptor, "rb")


def sha256(file: BinaryIO) -> str:
    """Digest of the whole `file`, computed in constant memory; rewinds the file."""
    digest, buffer = hashlib.sha256(), bytearray(1 << 20)
    file.seek(0)
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(memoryview(buffer)[:count])
    file.seek(0)
    return digest.hexdigest()


def check_writable(directory: Path | str) -> None:
    """Check before a long computation that a condensed dataset can be saved to `directory`; changes nothing.

    Raises:
        SaveError: if it cannot, with the directory, the cause and the remedy.
    """
    directory = Path(os.path.abspath(checked_path("directory", directory)))
    with translate_os_errors(directory):
        _refuse_conflicts(directory)
        nearest = next((path for path in (directory, *directory.parents) if os.path.lexists(path)), directory)
        with temporary(nearest, folder=True):
            pass


@contextmanager
def translate_os_errors(directory: Path) -> Iterator[None]:
    """Convert every `OSError` raised inside to a `SaveError` about `directory`."""
    try:
        yield
    except OSError as error:
        raise save_error(directory, error) from error


def replace_all(directory: Path, contents: Mapping[str, bytes | None]) -> None:
    """Replace the dataset's files in `directory`: all of them, or none if anything fails or the process dies.

    Args:
        directory: absolute; created with its parents if it does not exist. Unrelated files in it stay.
        contents: new content of each file by name; None removes the file.

    Raises:
        OSError: if writing fails, or an unrelated file is in the way; nothing was changed.
        SaveError: if the files are saved but could not be moved to their final places.
    """
    _refuse_conflicts(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    exists = directory.exists()
    home = directory if exists else directory.parent
    with temporary(home, folder=True) as staged:
        _fill(staged, contents, markers=exists)
        _commit(staged, directory)


def _refuse_conflicts(directory: Path) -> None:
    """Refuse to replace directories, files or tables that do not belong to a condensed dataset."""
    for name in (*_OWNED, str(Path(PREVIEW).parent)):
        path = directory / name
        if _is_folder(path) is (name in _OWNED):
            raise FileExistsError(errno.EEXIST, "in the way", str(path))
    pending = directory / PENDING
    if PENDING in directory.parts or pending.is_symlink() or _is_folder(pending) is False:
        raise FileExistsError(errno.EEXIST, "in the way", str(pending))
    if (directory / PREVIEW).exists() and not (directory / MANIFEST).exists():
        raise FileExistsError(errno.EEXIST, "unrelated", str(directory / PREVIEW))


def _is_folder(path: Path) -> bool | None:
    """Whether it is a folder or something else; None if there is nothing. One look: other writers move it meanwhile."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _fill(staged: Path, contents: Mapping[str, bytes | None], *, markers: bool) -> None:
    """Write everything below `staged` and make it durable."""
    for name, content in contents.items():
        if content is None and not markers:
            continue
        path = staged / (name if content is not None else name + _REMOVED)
        path.parent.mkdir(exist_ok=True)
        write_durably(path, content or b"")
    for folder in {staged, *(path for path in staged.iterdir() if path.is_dir())}:
        sync_folder(folder)


def _commit(staged: Path, directory: Path) -> None:
    if not directory.exists():
        try:
            staged.rename(directory)
        except OSError as error:  # another writer was faster: continue as for an existing directory
            if error.errno not in _OCCUPIED:
                raise
        else:
            sync_folder(directory.parent)
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
    sync_folder(directory)
    _finish(directory)


def _finish(directory: Path) -> None:
    """Move pending files to their final places. Several writers may do so at once; each file is moved once.

    Files that another writer has made pending since, and unrelated files, stay.
    """
    pending = directory / PENDING
    if not pending.exists():
        return
    try:
        for name in _OWNED:
            _move_into_place(pending, directory, name)
        for folder in (pending / Path(PREVIEW).parent, pending):
            with suppress(FileNotFoundError):
                folder.rmdir()
    except OSError as error:
        if error.errno in _OCCUPIED:
            return
        raise SaveError(
            f"The condensed dataset is saved in {pending} and is read from there, but its files could not be "
            f"moved to {directory}: {error}. Fix the cause and save again."
        ) from error
    sync_folder(directory)


def _move_into_place(pending: Path, directory: Path, name: str) -> None:
    new, removed, final = pending / name, pending / (name + _REMOVED), directory / name
    with suppress(FileNotFoundError):
        new.lstat()
        final.parent.mkdir(exist_ok=True)
        os.replace(new, final)
    with suppress(FileNotFoundError):
        removed.lstat()
        final.unlink(missing_ok=True)
        removed.unlink()
        with suppress(OSError):  # not empty, or the directory itself
            final.parent.rmdir()
