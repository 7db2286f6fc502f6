"""Writing a file whole: a reader, a killed process or a full disk never sees half of one."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> Path:
    """Write `content` to `path` and make missing folders; returns `path`.

    Raises:
        OSError: if it cannot be written; what was there before is still there then, and nothing else.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"Cannot write path={str(path)!r}: {reason}. Give a file in a writable folder."
        ) from error
    return path
