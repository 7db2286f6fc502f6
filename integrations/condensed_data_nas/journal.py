"""A file of results that lets an interrupted evaluation of many configurations continue."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from condensed_data.core import spec as specs
from condensed_data.core.tensor_hash import content_hash
from condensed_data.training.protocol import Training
from condensed_data_nas.task import ProxyTask
from condensed_data_nas.trial import TrialConfig
from condensed_data_nas.trial_result import Result


def objective_digest(
    task: ProxyTask, training: Training, options: TrialConfig, seed: int, build_model: Callable[[Any], Any]
) -> str:
    """Digest of what an objective trains on, how it trains and how it tests; `build_model` counts by its name only.

    Raises:
        ValueError: for a `build_model` without an importable name.
    """
    name = f"{getattr(build_model, '__module__', '')}.{getattr(build_model, '__qualname__', '<unnamed>')}"
    if "<" in name:
        raise ValueError(
            f"journal= identifies build_model by its name, but {build_model!r} has none. Give a function of a module."
        )
    tensors = {"x": task.images, "y": task.labels, "val_x": task.val_images, "val_y": task.val_labels}
    facts = [content_hash(tensors), specs.to_json(training), options.seeds, options.precision, seed, name]
    facts += ["recalibrate"] * options.recalibrate
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


class Journal:
    """Results as JSON lines; a line that a killed process left incomplete is skipped.

    Args:
        path: of the file, which may hold results of several objectives.
        digest: of this objective.
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
                results[row["key"]] = Result.from_json(json.dumps(row["result"]))
        return results

    def add(self, key: str, result: Result) -> None:
        """Append one result, on a new line even after an incomplete one."""
        row = {"objective": self.digest, "key": key, "result": json.loads(result.to_json())}
        with self.path.open("a+b") as file:
            incomplete = file.tell() and not self.path.read_bytes().endswith(b"\n")
            file.write((b"\n" if incomplete else b"") + json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
