"""Atomic file writes: a reader, a killed process or a full disk never leaves half a file behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> Path:
    """Replace the file at `path`, whose folders are created, by `content`, all of it or nothing; returns `path`.

    The content goes to a temporary file beside it (`.<name>.<process>-<thread>.tmp`, which a killed process leaves
    behind), is flushed to the disk, and then takes the place of `path` in one rename.

    Raises:
        OSError: if the file cannot be written, with the `errno` of the cause. The previous file is then unchanged, and
            no temporary file remains.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_durably(temporary, content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        failure = OSError(
            f"Cannot write path={str(path)!r}: {error.strerror or error}. Give a file in a writable folder."
        )
        failure.errno = error.errno
        raise failure from error
    return path


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
