"""Errors about stored condensed datasets.

Every message names the file, what was found, what was expected, and how to fix it.
"""

from __future__ import annotations

import errno
import os
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensed_data.core.text import VisibleMessage, visible_name

if TYPE_CHECKING:
    from typing_extensions import Self

OTHER_RELEASE = (
    "Use the release of condensed-data that wrote it; pip install --upgrade condensed-data installs the newest."
)
_SAVE_AGAIN = "The file is corrupt or was not written by condensed-data. Save or download it again."

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free some space or choose another directory"),
    errno.EFBIG: ("a file exceeds the file size limit", "Raise the file size limit or choose another directory"),
    errno.EACCES: ("permission denied", "Choose a directory you can write to"),
    errno.EPERM: ("the operation is not permitted", "Choose a directory you can write to"),
    errno.EROFS: ("the file system is read-only", "Choose a directory you can write to"),
    errno.ENOTDIR: ("the path or a parent of it is not a directory", "Choose another directory"),
    errno.EEXIST: ("an unrelated file is in the way", "Move it away or choose another directory"),
    errno.ENOTEMPTY: ("unrelated files are in the way", "Move them away or choose another directory"),
    errno.EISDIR: ("a directory is in the way", "Move it away or choose another directory"),
    errno.ENAMETOOLONG: ("the name is too long", "Choose a shorter one"),
    errno.ELOOP: ("a symbolic link leads to itself", "Correct the link or choose another directory"),
}
if hasattr(errno, "EDQUOT"):  # absent on Windows
    _CAUSES[errno.EDQUOT] = ("the disk quota is exceeded", "Free some space or choose another directory")


class ArtifactError(VisibleMessage, ValueError):
    """A condensed dataset cannot be read, or the given content cannot be stored as one."""

    @classmethod
    def mismatch(cls, file: str | Path, found: str, expected: str, remedy: str = _SAVE_AGAIN) -> Self:
        """The error for a `file` whose content differs from what is expected."""
        return cls(f"{file}: found {found}, expected {expected}. {remedy}")

    @classmethod
    def too_large(cls, file: str | Path, found: str, max_bytes: int) -> Self:
        """The error for content that exceeds the argument `max_bytes`."""
        return cls.mismatch(file, found, f"at most {max_bytes}", "If you trust the source, raise max_bytes.")


class IntegrityError(ArtifactError):
    """A file is missing, or its size or checksum differs from the manifest."""


class UnsupportedFormatError(ArtifactError):
    """The files require a newer version of condensed-data."""


class NotACondensedDatasetError(ArtifactError):
    """The directory does not contain a condensed dataset."""


class SaveError(VisibleMessage, OSError):
    """A condensed dataset could not be saved; the message says what the directory contains now."""


def checked_path(argument: str, path: str | os.PathLike[str]) -> Path:
    """A path that the system can be asked about.

    Raises:
        ValueError: if the value of `argument` is not a path, or contains NUL or half a character.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{argument}={short_repr(path)} is not a path. Give a string or a Path.")
    try:
        valid = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise ValueError(
            f"{argument}={short_repr(os.fspath(path))} contains NUL or half a character, which no file name may. "
            "Choose another name."
        )
    return Path(path)


@contextmanager
def before_saving() -> Iterator[None]:
    """Replace the remedy of errors raised while checking content that is about to be saved."""
    try:
        yield
    except ArtifactError as error:
        remedy = "Nothing was saved. Correct the content and save again."
        raise ArtifactError(str(error).replace(_SAVE_AGAIN, remedy)) from error


def short_repr(value: Any) -> str:
    """Bounded `repr` of `value` for a message; the value may come from a hostile file."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    return short.repr(value)


def shortened_list(names: Iterable[str], limit: int = 20) -> str:
    """The first names, comma-separated and visible, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(map(visible_name, listed[:limit])) + more


def reason_and_remedy(cause: OSError) -> str:
    """Why something could not be written, and what helps, without the last period."""
    reason, remedy = _CAUSES.get(cause.errno or 0, (cause.strerror or str(cause), "Choose another directory"))
    where = f" ({cause.filename})" if cause.filename else ""
    return f"{reason}{where}. {remedy}"


def save_error(directory: Path, cause: OSError) -> SaveError:
    """The error for a `cause` that stopped a save or a download before anything in `directory` changed."""
    if isinstance(cause, SaveError):
        return cause
    error = SaveError(f"Cannot write to {directory}: {reason_and_remedy(cause)}. Its previous content is unchanged.")
    error.errno = cause.errno
    return error
