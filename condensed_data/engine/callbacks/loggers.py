"""Callbacks that record a run: in memory, as JSONL, as CSV, and for TensorBoard.

A log holds one run. A new run replaces the content of its file; a resumed run keeps the rows up to the iteration it
resumes from and appends the following ones, so that no iteration appears twice.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from condensed_data.core.annotations import checked
from condensed_data.core.atomic import write_atomically
from condensed_data.engine.callbacks.progress import Callback, Progress

LogRow = dict[str, Any]
# the keys of a JSONL row and the columns of a CSV log
COLUMNS = ("iteration", "recipe", "iterations", "loss", "seconds", "iterations_per_second")


class Logger(Callback, ABC):
    """Base of all loggers: opened at the first iteration of a run, given one row per iteration, closed at the end."""

    def __init__(self) -> None:
        self._is_open = False
        self._last_iteration = 0

    def on_iteration(self, progress: Progress) -> None:
        if self._is_open and progress.iteration < self._last_iteration:
            self._end()  # an exception ended the run before this one
        if not self._is_open:
            self._open(progress.resumed_at)
            self._is_open, self._last_iteration = True, progress.resumed_at
        if progress.iteration > self._last_iteration:
            self._last_iteration = progress.iteration
            self._write({name: getattr(progress, name) for name in COLUMNS})

    def on_end(self, progress: Progress) -> None:
        self.on_iteration(progress)
        self._end()

    def _end(self) -> None:
        self._close()
        self._is_open = False

    @abstractmethod
    def _write(self, row: LogRow) -> None:
        """Write a row at once, so that a killed run loses none."""

    def _open(self, resumed_at: int) -> None:
        """Begin a run that resumes after `resumed_at` iterations."""

    def _close(self) -> None:
        """End a run."""


class History(Logger):
    """Collects everything in memory, for `condensed_data.plotting.curves.curves(history.rows, path)`.

    Attributes:
        rows: one dictionary per iteration whose loss was read, with the keys of `JSONLLogger`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[LogRow] = []

    @property
    def iterations(self) -> list[int]:
        """The iterations whose loss was read."""
        return [row["iteration"] for row in self.rows]

    @property
    def losses(self) -> list[float]:
        """The losses of `iterations`."""
        return [row["loss"] for row in self.rows]

    def _write(self, row: LogRow) -> None:
        self.rows.append(row)


class _FileLogger(Logger):
    """Appends one line per row; the file is not kept open, so that a killed run loses no row."""

    header = ""

    @checked
    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = _check_writable(Path(path))
        self._read()

    @abstractmethod
    def _encode(self, row: LogRow) -> str:
        """One line with its end."""

    @abstractmethod
    def _decode(self, text: str) -> list[LogRow]:
        """The rows of complete lines; raises ValueError or TypeError if they are not such a log."""

    def _open(self, resumed_at: int) -> None:
        """Keep the rows up to the iteration that a run resumes from, or none for a new run."""
        kept = [row for row in self._read() if row["iteration"] <= resumed_at > 0]
        write_atomically(self.path, (self.header + "".join(map(self._encode, kept))).encode())

    def _write(self, row: LogRow) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._encode(row))

    def _read(self) -> list[LogRow]:
        """The rows in the file, without a last line that a killed run left incomplete."""
        if not self.path.exists():
            return []
        try:
            text = self.path.read_text(encoding="utf-8")
            rows = self._decode(text[: text.rfind("\n") + 1])
            return [{**row, "iteration": int(row["iteration"])} for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"path={str(self.path)!r} exists and is not a log of {type(self).__name__}. Give another path."
            ) from error


def _check_writable(path: Path) -> Path:
    """Return `path` if a file can be created there; checked without creating anything, before hours of work."""
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not existing.is_dir() or not os.access(existing, os.W_OK):
        raise OSError(f"Cannot write a log to path={str(path)!r}. Give a file in a writable folder.")
    return path


class JSONLLogger(_FileLogger):
    """Writes one JSON object per line: `{"iteration": 1, "recipe": "dm", "iterations": ..., "loss": ..., ...}`.

    Infinite and NaN values are written as null, because JSON has neither.

    Args:
        path: the file; missing folders are created at the first iteration.

    Raises:
        OSError: if no file can be written there.
        ValueError: if the file exists and is not such a log.
    """

    def _encode(self, row: LogRow) -> str:
        infinite = (key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value))
        return json.dumps(row | dict.fromkeys(infinite), allow_nan=False) + "\n"

    def _decode(self, text: str) -> list[LogRow]:
        return [json.loads(line) for line in text.splitlines()]


class CSVLogger(_FileLogger):
    """Writes one row per iteration with the keys of `JSONLLogger`, whose arguments and errors it has, as columns."""

    header = ",".join(COLUMNS) + "\n"

    def _encode(self, row: LogRow) -> str:
        line = io.StringIO()
        csv.DictWriter(line, COLUMNS, lineterminator="\n").writerow(row)
        return line.getvalue()

    def _decode(self, text: str) -> list[LogRow]:
        if text and not text.startswith(self.header):
            raise ValueError("another header")
        return list(csv.DictReader(io.StringIO(text)))


class TensorBoardLogger(Logger):
    """Writes `loss` and `iterations_per_second` by iteration for TensorBoard.

    Args:
        log_dir: the folder to give to `tensorboard --logdir`.

    Raises:
        ImportError: if tensorboard, an optional dependency, is not installed.
    """

    @checked
    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError("TensorBoardLogger needs tensorboard: pip install condensed-data[tensorboard]")
        super().__init__()
        self.log_dir = str(log_dir)
        self._writer: Any = None

    def _open(self, resumed_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # makes TensorBoard hide what earlier files in this folder hold from this iteration on
        self._writer = SummaryWriter(self.log_dir, purge_step=resumed_at + 1 if resumed_at else 0)

    def _write(self, row: LogRow) -> None:
        for name in ("loss", "iterations_per_second"):
            self._writer.add_scalar(name, row[name], row["iteration"])
        self._writer.flush()

    def _close(self) -> None:
        self._writer.close()
