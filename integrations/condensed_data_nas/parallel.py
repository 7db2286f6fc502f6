"""Evaluates many configurations, in this process or on any executor of processes, and continues after a stop."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from condensed_data_nas.space import Config, key_of
from condensed_data_nas.trial_result import Result

Measure = Callable[[dict[str, Any]], Result]
# of a worker process, by task, so that it sends samples to its device once
_MEASURES: dict[str, Measure] = {}
_MAX_MEASURES = 4


class Journal:
    """Results as JSON lines; a line that a killed process left incomplete is skipped.

    The file may hold results of several objectives, which `digest` tells apart.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest
        path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, Result]:
        """Results of this objective by key of the configuration."""
        results = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row["objective"] == self.digest:
                results[row["key"]] = Result.from_json(row["result"])
        return results

    def add(self, key: str, result: Result) -> None:
        """Append one result, on a new line even after an incomplete one."""
        row = {"objective": self.digest, "key": key, "result": asdict(result)}
        with self.path.open("a+b") as file:
            incomplete = file.tell() and not self.path.read_bytes().endswith(b"\n")
            file.write((b"\n" if incomplete else b"") + json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


class MeasureTask:
    """Measures a configuration in a worker process, which keeps the objective for the next one."""

    def __init__(self, measure: Measure) -> None:
        self.measure, self.name = measure, uuid.uuid4().hex

    def __call__(self, config: dict[str, Any]) -> Result:
        if self.name not in _MEASURES:
            while len(_MEASURES) >= _MAX_MEASURES:
                _MEASURES.pop(next(iter(_MEASURES)))
            _MEASURES[self.name] = self.measure
        return _MEASURES[self.name](config)


def evaluate_many(
    measure: Measure, configs: Sequence[Config], executor: Executor | None, journal: Journal | None, progress: bool
) -> list[Result]:
    """Measure the configurations that the journal does not hold, see `ProxyObjective.evaluate_many`."""
    from tqdm.auto import tqdm

    if isinstance(executor, ThreadPoolExecutor):
        raise ValueError(
            "executor is a ThreadPoolExecutor, whose threads would share random states. Use a ProcessPoolExecutor."
        )
    requested = {key_of(config): dict(config) for config in configs}
    results = {} if journal is None else journal.read()
    missing = {key: config for key, config in requested.items() if key not in results}
    known = len(requested) - len(missing)
    with tqdm(total=len(requested), initial=known, unit="trial", disable=not progress) as bar:
        for key, result in _measured(measure, missing, executor):
            results[key] = result
            if journal is not None:
                journal.add(key, result)
            bar.update()
    return [results[key_of(config)] for config in configs]


def _measured(
    measure: Measure, configs: dict[str, dict[str, Any]], executor: Executor | None
) -> Iterator[tuple[str, Result]]:
    """Yield (key, result) in order of completion."""
    if executor is None:
        for key, config in configs.items():
            yield key, measure(config)
        return
    task = MeasureTask(measure)
    futures = {executor.submit(task, config): key for key, config in configs.items()}
    try:
        for done in as_completed(futures):
            yield futures[done], done.result()
    finally:
        for future in futures:
            future.cancel()
