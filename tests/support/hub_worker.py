"""Processes that push and pull, for tests of concurrency and kills; this file is also their program.

One fresh interpreter without threads imports everything once and forks a process for each task.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server.history import Repository
from torch.utils.data import TensorDataset
from torchvision.transforms.functional import to_tensor

from condensed_data import CondensedDataset


def source(seed: int = 0, classes: int = 2) -> TensorDataset:
    """10 samples of each class: (10 * classes, 3, 8, 8) float32 in [0, 1], and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(10)
    dataset = TensorDataset(torch.rand(len(labels), 3, 8, 8, generator=generator), labels)
    dataset.classes = [f"class {label}" for label in range(classes)]
    return dataset


def small(seed: int = 0, ipc: int = 2) -> CondensedDataset:
    """A condensed dataset that follows from its seed."""
    return CondensedDataset(source(seed), "random", ipc=ipc, cache=False, progress=False)


def seed_of(dataset: CondensedDataset) -> int:
    """The seed of a dataset, which must be complete."""
    found = next(seed for seed in range(100) if torch.equal(_first(seed), dataset.images[:1]))
    assert torch.equal(small(found, dataset.metadata.ipc).images, dataset.images)
    return found


@functools.cache
def _first(seed: int) -> torch.Tensor:
    return small(seed, 1).images[:1]


def refused(kind: type[Exception], expected: str, call: Callable[..., object], **options: Any) -> str:
    """The error message: one paragraph that names the problem and the remedy."""
    with pytest.raises(kind, match=expected) as caught:
        call(**options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 900
    assert message.endswith((".", ")"))
    assert re.search("Check|Give|Log in|Use|Wait|Try|Connect|Ask|Only|Unset|Free|again|Change", message)
    return message


def load(repository: Repository | str, **options: Any) -> CondensedDataset:
    name = repository if isinstance(repository, str) else repository.name
    return CondensedDataset.from_hub(name, **options)


def push(repo_id: str, seed: int, **options: Any) -> dict[str, Any]:
    done = small(seed).push_to_hub(repo_id, **options)
    return {"oid": done.oid}


def pull(repo_id: str, **options: Any) -> dict[str, Any]:
    found = CondensedDataset.from_hub(repo_id, **options)
    return {"seed": seed_of(found), "commit": found.hub_revision}


def build(seed: int, **options: Any) -> dict[str, Any]:
    found = CondensedDataset(source(seed), "random", ipc=2, progress=False, **options)
    return {"seed": seed_of(found), "commit": found.hub_revision}


def load_pictures(repo_id: str, cache_dir: str, streaming: bool, config: str | None = None) -> dict[str, Any]:
    """Load with `datasets` alone, and measure the largest error of the images against the samples of seed 0."""
    import datasets

    loaded = datasets.load_dataset(repo_id, config, split="train", cache_dir=cache_dir, streaming=streaming)
    rows = list(loaded)
    pictures = torch.stack([to_tensor(row["image"]) for row in rows])
    images = small().images
    shown = (images - images.min()) / (images.max() - images.min())
    errors = (pictures - shown).abs().max().item() if len(rows) == len(shown) else None
    return {
        "names": loaded.features["label"].names,
        "labels": [row["label"] for row in rows],
        "kinds": [f"{type(row['image']).__module__} {row['image'].size}" for row in rows],
        "errors": errors,
    }


def config_names(repo_id: str) -> dict[str, Any]:
    import datasets

    names = datasets.get_dataset_config_names(repo_id)
    return {"names": names, "default": datasets.get_dataset_default_config_name(repo_id)}


def refusal(repo_id: str, **options: Any) -> dict[str, Any]:
    """The error of a pull, and by how many bytes the process has grown."""
    before = _peak()
    try:
        return pull(repo_id, **options)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error), "grown": _peak() - before}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


TASKS = (push, pull, build, load_pictures, config_names, refusal)


@dataclass
class Job:
    """A process that runs a task."""

    number: int
    path: Path

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # already finished
            os.kill(self.number, signal.SIGKILL)

    def result(self, timeout: float = 120) -> dict[str, Any]:
        """Its result; {"error": ..., "message": ...} for an error, {} if it was killed."""
        ends = time.monotonic() + timeout
        while _lives(self.number):
            assert time.monotonic() < ends, f"process {self.number} takes too long"
            time.sleep(0.01)
        return json.loads(self.path.read_text()) if self.path.exists() else {}


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


class Workers:
    """The interpreter that forks; `environment` is set before it imports anything."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate(timeout=60)

    def start(self, task: str, /, *arguments: Any, **options: Any) -> Job:
        """Start a task in its own process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        path = self._folder / f"result-{next(self._numbers)}.json"
        line = {"task": task, "arguments": arguments, "options": options, "path": str(path)}
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        return Job(int(self._process.stdout.readline()), path)

    def do(self, task: str, /, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Run a task and return its result."""
        return self.start(task, *arguments, **options).result()


def _serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forked processes are not waited for
    torch.set_num_threads(1)
    _warm_up()
    for line in sys.stdin:
        wanted = json.loads(line)
        child = os.fork()
        if child == 0:
            _work(**wanted)
        print(child, flush=True)
    os._exit(0)


def _warm_up() -> None:
    """Import what the tasks need once; must start no thread, because threads do not survive a fork."""
    from huggingface_hub import CommitOperationAdd, HfApi  # noqa: F401
    from huggingface_hub.utils import httpx  # noqa: F401

    from condensed_data.storage.hub import pull, push, search  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        small().save(folder)
        small().plot()
    assert threading.active_count() == 1


def _work(task: str, arguments: list[Any], options: dict[str, Any], path: str) -> None:
    try:
        try:
            (function,) = (function for function in TASKS if function.__name__ == task)
            found = function(*arguments, **options)
        except Exception as error:
            traceback.print_exc()
            found = {"error": type(error).__name__, "message": str(error)}
        Path(f"{path}.part").write_text(json.dumps(found))
        os.replace(f"{path}.part", path)
    finally:
        os._exit(0)


if __name__ == "__main__":
    _serve()
