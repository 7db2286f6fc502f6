"""What can go wrong with a stored condensed dataset, and the sentence that says so.

Every message names the file, what was found, what was expected, and what to do about it.
"""

from __future__ import annotations

import errno
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_AGAIN = "The file is damaged or was not written by condensed-data: save or download it again."

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free some space or choose another directory"),
    errno.EFBIG: (
        "a file grew over the allowed size",
        "Raise the file size limit or choose another directory",
    ),
    errno.EACCES: ("permission is denied", "Choose a directory that you may write to"),
    errno.EPERM: ("the operation is not permitted", "Choose a directory that you may write to"),
    errno.EROFS: ("the file system is read-only", "Choose a directory that you may write to"),
    errno.ENOTDIR: ("a part of the path is a file", "Choose a directory whose parents are directories"),
    errno.EEXIST: ("a file of this name is in the way", "Move it away or choose another directory"),
    errno.ENOTEMPTY: ("files that are not ours are in the way", "Move them away or choose another directory"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one"),
}
if hasattr(errno, "EDQUOT"):  # not known on Windows
    _CAUSES[errno.EDQUOT] = ("the disk quota is used up", "Free some space or choose another directory")


class ArtifactError(ValueError):
    """A condensed dataset cannot be read, or this content cannot be written as one."""


class IntegrityError(ArtifactError):
    """A file is missing, or its size or checksum is not the one in the manifest."""


class UnsupportedFormatError(ArtifactError):
    """The files need a newer version of condensed-data."""


class NotACondensedDatasetError(ArtifactError):
    """The directory holds no condensed dataset."""


class SaveError(OSError):
    """A condensed dataset could not be saved; the message says what is in the directory now."""


def mismatch_message(file: str | Path, found: str, expected: str, remedy: str = _AGAIN) -> str:
    """The sentence for a `file` that is not as it should be."""
    return f"{file}: found {found}, expected {expected}. {remedy}"


@contextmanager
def before_saving() -> Iterator[None]:
    """Where a check of content fails that is only about to be saved, the remedy is another one."""
    try:
        yield
    except ArtifactError as error:
        remedy = "Nothing was saved: correct what is to be saved."
        raise ArtifactError(str(error).replace(_AGAIN, remedy)) from error


def shown(value: Any) -> str:
    """`value` for a message, short whatever it is (it may come from a hostile file)."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    return short.repr(value)


def save_error(directory: Path, cause: OSError) -> SaveError:
    """The error for a `cause` that stopped a save to `directory` before it changed anything there."""
    if isinstance(cause, SaveError):
        return cause
    reason, remedy = _CAUSES.get(
        cause.errno or 0, (cause.strerror or str(cause), "Choose another directory and save again")
    )
    where = f" ({cause.filename})" if cause.filename else ""
    error = SaveError(
        f"Cannot save a condensed dataset to {directory}: {reason}{where}. {remedy}. "
        "What was there before is unchanged."
    )
    error.errno = cause.errno
    return error
