"""Measurements as JSON lines, in a file that several processes may write to and be killed at any time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

Row = dict[str, Any]


class Rows:
    """A file with one JSON object per line.

    Args:
        path: of the file; locks are files in `<path>.locks`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.locks = path, path.with_name(path.name + ".locks")

    def all(self) -> list[Row]:
        """All rows, without incomplete lines of processes that were killed while writing."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().split("\n")
        return [json.loads(line) for line in lines[:-1] if _is_whole(line)]

    def find(self, **key: Any) -> list[Row]:
        """Rows with these values."""
        return [row for row in self.all() if all(row.get(name) == value for name, value in key.items())]

    def add(self, row: Row) -> None:
        """Append a row in one write, on a new line even after an incomplete one."""
        text = json.dumps(row) + "\n"
        with self._lock("file", -1), self.path.open("a+b") as file:
            if file.tell() and not self.path.read_bytes().endswith(b"\n"):
                text = "\n" + text
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def claim(self, *key: Any) -> Iterator[bool]:
        """Yields True if this process may do the work with this key now; a process that dies gives up its claim."""
        lock = self._lock(hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24], 0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _lock(self, name: str, timeout: float) -> FileLock:
        self.locks.mkdir(parents=True, exist_ok=True)
        return FileLock(str(self.locks / name), timeout=timeout)


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
