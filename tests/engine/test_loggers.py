from __future__ import annotations

import csv
import importlib.util
import json
import math
from pathlib import Path

import pytest

from condensed_data.engine.callbacks.loggers import CSVLogger, JSONLLogger, TensorBoardLogger
from condensed_data.engine.callbacks.progress import Callback, Progress

LOGGERS = pytest.mark.parametrize("logger", [CSVLogger, JSONLLogger])


def progress(iteration: int, resumed_at: int = 0, loss: float | None = None) -> Progress:
    return Progress(
        iteration=iteration,
        iterations=10,
        loss=1 / (iteration or 1) if loss is None else loss,
        seconds=0.5 * iteration,
        iterations_per_second=2.0,
        eta_seconds=5 - 0.5 * iteration,
        recipe="dm, edited",
        resumed_at=resumed_at,
    )


def run(callback: Callback, first: int, last: int, *, resumed_at: int = 0, end: bool = True) -> None:
    for iteration in range(first, last + 1):
        callback.on_iteration(progress(iteration, resumed_at))
    if end:
        callback.on_end(progress(last, resumed_at))


def records(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


def iterations(path: Path) -> list[int]:
    return [int(record["iteration"]) for record in records(path)]  # type: ignore[call-overload]


@pytest.fixture
def path(tmp_path: Path, logger: type) -> Path:
    return tmp_path / ("log.csv" if logger is CSVLogger else "log.jsonl")


def test_jsonl_holds_one_object_per_event(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.jsonl"
    log = JSONLLogger(path)
    log.on_iteration(progress(1, loss=2.5))
    log.on_end(progress(10, loss=0.25))
    first, last = records(path)
    assert first == {
        "iteration": 1,
        "recipe": "dm, edited",
        "iterations": 10,
        "loss": 2.5,
        "seconds": 0.5,
        "iterations_per_second": 2.0,
    }
    assert (last["iteration"], last["loss"]) == (10, 0.25)


def test_csv_has_one_header_and_quotes_what_needs_quotes(tmp_path: Path) -> None:
    log = CSVLogger(tmp_path / "log.csv")
    log.on_iteration(progress(1, loss=2.5))
    log.on_end(progress(1, loss=2.5))
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "iteration,recipe,iterations,loss,seconds,iterations_per_second"
    (row,) = records(tmp_path / "log.csv")
    assert (row["recipe"], row["loss"]) == ("dm, edited", "2.5")


@LOGGERS
def test_every_event_is_in_the_file_at_once(path: Path, logger: type) -> None:
    log = logger(path)
    for iteration in (1, 2, 3):
        log.on_iteration(progress(iteration))
        assert iterations(path) == list(range(1, iteration + 1))


@LOGGERS
def test_a_resumed_run_continues_without_repeating_iterations(path: Path, logger: type) -> None:
    whole = path.with_stem("whole")
    run(logger(whole), 1, 8)
    run(logger(path), 1, 6, end=False)  # killed after iteration 6, with a checkpoint of iteration 4
    run(logger(path), 5, 8, resumed_at=4)
    assert path.read_bytes() == whole.read_bytes()


@LOGGERS
def test_a_new_run_replaces_the_log_of_an_older_one(path: Path, logger: type) -> None:
    log = logger(path)
    run(log, 1, 8)
    run(log, 1, 3)
    assert iterations(path) == [1, 2, 3]


@LOGGERS
def test_a_logger_starts_again_after_a_run_that_ended_with_an_exception(path: Path, logger: type) -> None:
    log = logger(path)
    run(log, 1, 8, end=False)
    run(log, 6, 9, resumed_at=5)
    assert iterations(path) == list(range(1, 10))
    run(log, 1, 8, end=False)
    run(log, 1, 2)
    assert iterations(path) == [1, 2]


@LOGGERS
def test_nothing_changes_before_the_first_iteration(path: Path, logger: type) -> None:
    run(logger(path), 1, 3)
    before = path.read_bytes()
    logger(path)
    assert path.read_bytes() == before


@LOGGERS
def test_a_line_that_a_killed_run_left_unfinished_is_dropped(path: Path, logger: type) -> None:
    run(logger(path), 1, 4, end=False)
    path.write_bytes(path.read_bytes()[:-5])
    run(logger(path), 4, 5, resumed_at=3)
    assert iterations(path) == [1, 2, 3, 4, 5]


def test_losses_that_are_not_finite_keep_the_json_valid(tmp_path: Path) -> None:
    JSONLLogger(tmp_path / "log.jsonl").on_end(progress(1, loss=math.nan))
    assert records(tmp_path / "log.jsonl")[0]["loss"] is None


@LOGGERS
@pytest.mark.parametrize("content", ["notes\n", "[1]\n", '{"loss": 1}\n', "iteration,loss\n1,2\n", "\xff\n"])
def test_another_file_is_refused_and_left_unchanged(path: Path, logger: type, content: str) -> None:
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"path=.* exists and is not a log"):
        logger(path)
    assert path.read_bytes() == content.encode("latin-1")


@LOGGERS
def test_an_unwritable_path_is_refused_at_once(tmp_path: Path, logger: type) -> None:
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path, tmp_path / "file" / "log"):
        with pytest.raises(OSError, match="Cannot write a log to path="):
            logger(wrong)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def test_tensorboard_gets_loss_and_speed(tmp_path: Path) -> None:
    run(TensorBoardLogger(tmp_path), 1, 3)
    assert scalars(tmp_path) == {
        "loss": [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))],
        "iterations_per_second": [(1, 2.0), (2, 2.0), (3, 2.0)],
    }


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install condensed-data\[tensorboard\]"):
        TensorBoardLogger(tmp_path)
    assert list(tmp_path.iterdir()) == []
