"""Callbacks that write a run to disk: JSONL, CSV and TensorBoard.

A log holds one run: a new run replaces what its file held, a resumed run keeps the iterations up to the one it
resumes from and goes on behind them, so that no iteration is there twice.
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
from typing import TYPE_CHECKING, Any

from condensed_data.core.atomic import write_whole
from condensed_data.engine.callbacks.progress import (
    COLUMNS,
    Callback,
    LogRow,
    Progress,
    evaluation_record,
    iteration_record,
)

if TYPE_CHECKING:
    from condensed_data.training.evaluate import Evaluation


class _FileLogger(Callback, ABC):
    """Appends one line an event; no handle stays open between two of them, so a killed run loses none."""

    header = ""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _writable(Path(path))
        self._read()
        self._pending: list[LogRow] = []
        self._written: set[tuple[int, str, str]] | None = None

    @abstractmethod
    def _encode(self, record: LogRow) -> str:
        """One line, with its end."""

    @abstractmethod
    def _decode(self, text: str) -> list[LogRow]:
        """The records of whole lines; raises ValueError, KeyError or TypeError where they are no log."""

    def on_iteration(self, progress: Progress) -> None:
        if self._written is None:
            self._written = self._keep(progress.resumed_at)
        if progress.iteration > 0:
            self._pending.append(iteration_record(progress))
        self._append()

    def on_evaluate(self, iteration: int, evaluation: Evaluation) -> None:
        self._pending.append(evaluation_record(iteration, evaluation))
        if self._written is not None:
            self._append()

    def on_end(self, progress: Progress) -> None:
        self.on_iteration(progress)
        self._written = None

    def _append(self) -> None:
        """Write what waits, except what the log holds already."""
        assert self._written is not None
        fresh = {_key(record): record for record in self._pending if _key(record) not in self._written}
        self._pending.clear()
        if fresh:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write("".join(map(self._encode, fresh.values())))
        self._written.update(fresh)

    def _keep(self, resumed_at: int) -> set[tuple[int, str, str]]:
        """Keep the records that a resumed run stands on; returns what identifies them."""
        kept = [record for record in self._read() if record["iteration"] <= resumed_at > 0]
        write_whole(self.path, (self.header + "".join(map(self._encode, kept))).encode())
        return set(map(_key, kept))

    def _read(self) -> list[LogRow]:
        """The records there, without a last line that a killed run left unfinished."""
        if not self.path.exists():
            return []
        try:
            text = self.path.read_text(encoding="utf-8")
            return self._decode(text[: text.rfind("\n") + 1])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"path={str(self.path)!r} exists and is no log of {type(self).__name__}. Give another path."
            ) from error


def _key(record: LogRow) -> tuple[int, str, str]:
    """What identifies a record: its iteration and, where it is an evaluation, its network and protocol."""
    return record["iteration"], record.get("network") or "", record.get("protocol") or ""


def _writable(path: Path) -> Path:
    """`path`, if a file can be made there; found out before hours of work, without making anything."""
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not there.is_dir() or not os.access(there, os.W_OK):
        raise OSError(f"Cannot write a log to path={str(path)!r}. Give a file in a writable folder.")
    return path


class JSONLLogger(_FileLogger):
    """Writes one JSON object a line: `{"iteration": 1, "recipe": "dm", "iterations": ..., "loss": ..., ...}`.

    Evaluations are lines with `iteration`, `network`, `protocol`, `networks` (how many were trained), `accuracy`
    and `accuracy_std` (fractions in [0, 1]). Numbers that are not finite are null, which JSON can hold.

    Args:
        path: the file; missing folders are made at the first iteration.

    Raises:
        OSError: if no file can be written there.
        ValueError: if the file exists and is no such log.
    """

    def _encode(self, record: LogRow) -> str:
        finite = {key: _finite(value) for key, value in record.items()}
        return json.dumps(finite, allow_nan=False) + "\n"

    def _decode(self, text: str) -> list[LogRow]:
        records = [json.loads(line) for line in text.splitlines()]
        return [{**record, "iteration": int(record["iteration"])} for record in records]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class CSVLogger(_FileLogger):
    """Writes one row an event in columns named like the keys of `JSONLLogger`; missing values stay empty.

    Args:
        path: the file; missing folders are made at the first iteration.

    Raises:
        OSError: if no file can be written there.
        ValueError: if the file exists and is no such log.
    """

    header = ",".join(COLUMNS) + "\n"

    def _encode(self, record: LogRow) -> str:
        line = io.StringIO()
        csv.DictWriter(line, COLUMNS, lineterminator="\n").writerow(record)
        return line.getvalue()

    def _decode(self, text: str) -> list[LogRow]:
        if text and not text.startswith(self.header):
            raise ValueError("another header")
        records = list(csv.DictReader(io.StringIO(text)))
        return [{**record, "iteration": int(record["iteration"])} for record in records]


class TensorBoardLogger(Callback):
    """Writes `loss`, `iterations_per_second` and `accuracy/NETWORK/PROTOCOL` by iteration for TensorBoard.

    Args:
        log_dir: the folder that `tensorboard --logdir` is pointed at.

    Raises:
        ImportError: without tensorboard, which is an extra.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError("TensorBoardLogger needs tensorboard: pip install condensed-data[tensorboard]")
        self.log_dir = str(log_dir)
        self._writer: Any = None
        self._pending: list[tuple[str, float, int]] = []
        self._last = 0

    def on_iteration(self, progress: Progress) -> None:
        self._last = progress.iteration
        self._pending.append(("loss", progress.loss, progress.iteration))
        self._pending.append(("iterations_per_second", progress.iterations_per_second, progress.iteration))
        self._write(progress.resumed_at)

    def on_evaluate(self, iteration: int, evaluation: Evaluation) -> None:
        tag = f"accuracy/{evaluation.network}/{evaluation.training.name}"
        self._pending.append((tag, evaluation.mean, iteration))

    def on_end(self, progress: Progress) -> None:
        if progress.iteration > self._last:
            self.on_iteration(progress)
        self._write(progress.resumed_at)
        self._writer.close()
        self._writer, self._last = None, 0

    def _write(self, resumed_at: int) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard then hides what earlier files in this folder hold from this iteration on
            self._writer = SummaryWriter(self.log_dir, purge_step=resumed_at + 1 if resumed_at else 0)
        for tag, value, iteration in self._pending:
            self._writer.add_scalar(tag, value, iteration)
        self._pending.clear()
        self._writer.flush()
