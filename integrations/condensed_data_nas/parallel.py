"""Many configurations by any executor, with a journal that outlives a kill."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from condensed_data_nas import space as spaces
from condensed_data_nas.space import Config
from condensed_data_nas.trial_result import Result

if TYPE_CHECKING:
    from condensed_data_nas.objective import ProxyObjective

T = TypeVar("T")
_HELD: dict[
    str, ProxyObjective
] = {}  # objectives by their call, so that a worker sends samples to its device once
_MOST_HELD = 4


class Measure:
    """What a worker does with a configuration.

    Args:
        objective: kept by the worker for the next configuration.
    """

    def __init__(self, objective: ProxyObjective) -> None:
        self.objective, self.name = objective, uuid.uuid4().hex

    def __call__(self, config: dict[str, Any]) -> Result:
        if self.name not in _HELD:
            while len(_HELD) >= _MOST_HELD:
                _HELD.pop(next(iter(_HELD)))
            _HELD[self.name] = self.objective
        return _HELD[self.name].measure(config)


def digest(objective: ProxyObjective) -> str:
    """Names what an objective trains on, how and by what it judges; `build_model` by its name alone.

    Raises:
        ValueError: for a `build_model` without a name of its own.
    """
    from condensed_data.core import spec as specs
    from condensed_data.core.tensor_hash import content_hash

    task, function = objective.task, objective.build_model
    tensors = {"x": task.images, "y": task.labels, "val_x": task.val_images, "val_y": task.val_labels}
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '<unnamed>')}"
    if "<" in name:
        raise ValueError(
            f"journal= knows build_model by its name, and {function!r} has none. Give a function of a module."
        )
    plan = objective.plan
    facts = [specs.to_json(objective.training), plan.seeds, plan.precision, objective.seed, name]
    facts += ["recalibrate"] * plan.recalibrate
    return hashlib.sha256(json.dumps([content_hash(tensors), *facts]).encode()).hexdigest()[:16]


def evaluate(
    objective: ProxyObjective,
    configs: Sequence[Config],
    executor: Executor | None,
    journal: str | Path | None,
    progress: bool,
) -> list[Result]:
    """See `ProxyObjective.evaluate_many`."""
    from tqdm.auto import tqdm

    if isinstance(executor, ThreadPoolExecutor):
        raise ValueError("executor=ThreadPoolExecutor shares random states: use a ProcessPoolExecutor.")
    asked = {spaces.key_of(config): dict(config) for config in configs}
    kept = None if journal is None else Journal(Path(journal), digest(objective))
    known = {} if kept is None else kept.read()
    missing = {key: config for key, config in asked.items() if key not in known}
    with tqdm(total=len(asked), initial=len(asked) - len(missing), unit="trial", disable=not progress) as bar:
        for key, found in _measured(objective, missing, executor):
            known[key] = found
            if kept is not None:
                kept.add(key, found)
            bar.update()
    return [known[spaces.key_of(config)] for config in configs]


def _measured(
    objective: ProxyObjective, configs: dict[str, dict[str, Any]], executor: Executor | None
) -> Any:
    """(key, result) as they are finished."""
    if executor is None:
        for key, config in configs.items():
            yield key, objective.measure(config)
        return
    measure = Measure(objective)
    futures = {executor.submit(measure, config): key for key, config in configs.items()}
    try:
        for done in as_completed(futures):
            yield futures[done], done.result()
    finally:
        for future in futures:
            future.cancel()


class Journal:
    """Results as JSON lines; a half line, of a process that was killed while it wrote, is left out.

    Args:
        path: of the file, which may hold the results of several objectives.
        digest: of this one.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest
        path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, Result]:
        """Results of this objective by configuration."""
        found = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row["objective"] == self.digest:
                found[row["key"]] = Result.from_json(json.dumps(row["result"]))
        return found

    def add(self, key: str, result: Result) -> None:
        """Append one line, whatever came before it."""
        row = {"objective": self.digest, "key": key, "result": json.loads(result.to_json())}
        with self.path.open("a+b") as file:
            torn = file.tell() and not self.path.read_bytes().endswith(b"\n")
            file.write((b"\n" if torn else b"") + json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
