"""Kills of pushing and pulling processes, at every request and at any time.

Every commit has the old or the new dataset, complete; repeating the call finishes it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from hub_server.history import Repository
from hub_worker import Workers, seed_of, small

from condensed_data import CondensedDataset
from condensed_data.core.hub_errors import HubUnavailableError
from condensed_data.storage import artifact

pytestmark = pytest.mark.slow

KILLS = 12  # at random moments, of pushes and of pulls

PUSH = ("GET /api/datasets/", "POST .*/preupload/", "POST .*/batch", "PUT /uploads/", "POST /lfs/verify")
PULL = ("GET /api/datasets/", "POST .*/paths-info/", "HEAD .*/resolve/.*json", "GET /api/resolve-cache/")


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HF_TOKEN", HubServer.token("alice"))
        with Workers(tmp_path_factory.mktemp("workers")) as found:
            yield found


@pytest.fixture
def repository(hub: HubServer, repo_id: str, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository with the dataset of seed 0 that alice may write to."""
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    small(0).push_to_hub(repo_id)
    return hub.hub.repositories["dataset", repo_id]


def seeds(hub: HubServer, repository: Repository, folder: Path) -> list[int]:
    """The seed of the dataset at every commit, oldest first; each must be complete."""
    found = []
    for commit in reversed(repository.history("main")):
        files = hub.content(repository, commit.oid)
        if not files:
            continue
        place = folder / commit.oid
        for path, content in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        assert {"README.md", "condensed.json", "condensed.safetensors", "grid.png"} <= set(files)
        assert set(artifact.read_manifest(place)["files"]) <= set(files)
        found.append(seed_of(CondensedDataset.load(place)))
    return found


def kill_when_reached(
    workers: Workers, server: HubServer, fault: dict[str, Any], task: str, /, *what: Any, **more: Any
) -> None:
    blocked = server.fault(hold=True, **fault)
    job = workers.start(task, *what, **more)
    assert blocked.reached.wait(60), fault
    job.kill()
    assert job.result() == {}
    blocked.release()
    time.sleep(0.05)  # the server finishes the request
    server.faults.clear()


POINTS = [{"match": match, "after": after} for match in PUSH for after in (False, True)]


@pytest.mark.parametrize("point", [*POINTS, {"match": "POST .*/commit/"}], ids=str)
def test_a_push_that_is_killed(
    hub: HubServer, repository: Repository, workers: Workers, tmp_path: Path, point: dict[str, Any]
) -> None:
    kill_when_reached(workers, hub, point, "push", repository.name, 1)
    before = seeds(hub, repository, tmp_path)
    assert before == ([0, 1] if "commit" in point["match"] else [0])
    assert workers.do("push", repository.name, 1)["oid"] == repository.head.oid
    assert seeds(hub, repository, tmp_path) == [0, 1]
    assert seed_of(CondensedDataset.from_hub(repository.name)) == 1


def test_a_push_that_is_killed_after_its_commit(
    hub: HubServer, repository: Repository, workers: Workers, tmp_path: Path
) -> None:
    kill_when_reached(workers, hub, {"match": "POST .*/commit/", "after": True}, "push", repository.name, 1)
    done = repository.head.oid
    assert seeds(hub, repository, tmp_path) == [0, 1]
    assert workers.do("push", repository.name, 1)["oid"] == done


@pytest.mark.parametrize("match", ["POST /api/repos/create", "PUT /uploads/"])
@pytest.mark.parametrize("after", [False, True])
def test_a_first_push_that_is_killed(
    hub: HubServer, repo_id: str, workers: Workers, tmp_path: Path, match: str, after: bool
) -> None:
    kill_when_reached(workers, hub, {"match": match, "after": after}, "push", repo_id, 1)
    assert workers.do("pull", repo_id, cache_dir=str(tmp_path / "cache"))["error"] in (
        "HubNotFoundError",
        "NotACondensedDatasetError",
    )
    done = workers.do("push", repo_id, 1)
    found = workers.do("pull", repo_id, cache_dir=str(tmp_path / "cache"))
    assert found == {"seed": 1, "commit": done["oid"]}
    assert seeds(hub, hub.hub.repositories["dataset", repo_id], tmp_path) == [1]


def test_pushes_that_are_killed_at_any_time(
    hub: HubServer, repository: Repository, workers: Workers, tmp_path: Path
) -> None:
    moments, last = throttled_moments(hub, workers, "push", repository.name, 1), 1
    for attempt, moment in enumerate(moments, start=2):
        job = workers.start("push", repository.name, attempt)
        time.sleep(moment)
        job.kill()
        job.result()
        time.sleep(0.05)
        visible = seeds(hub, repository, tmp_path)
        assert visible[-1] in (last, attempt)
        assert visible == sorted(visible)
        last = visible[-1]
        assert seed_of(CondensedDataset.from_hub(repository.name, cache_dir=tmp_path / f"reader {attempt}")) == last
    hub.faults.clear()
    workers.do("push", repository.name, 90)
    assert seeds(hub, repository, tmp_path)[-1] == 90


@pytest.mark.parametrize(
    "point",
    [
        *({"match": match} for match in PULL),
        {"match": "GET /objects/"},
        {"match": "GET /objects/", "cut": 500},
    ],
    ids=str,
)
def test_a_pull_that_is_killed(
    hub: HubServer, repository: Repository, workers: Workers, tmp_path: Path, point: dict[str, Any]
) -> None:
    cache = tmp_path / "cache"
    kill_when_reached(workers, hub, point, "pull", repository.name, cache_dir=str(cache))
    for options in ({}, {"revision": repository.head.oid}):
        with pytest.raises(HubUnavailableError):
            CondensedDataset.from_hub(repository.name, cache_dir=cache, local_files_only=True, **options)
    assert workers.do("pull", repository.name, cache_dir=str(cache))["seed"] == 0
    assert seed_of(CondensedDataset.from_hub(repository.name, cache_dir=cache, local_files_only=True)) == 0


def test_pulls_that_are_killed_at_any_time(
    hub: HubServer, repository: Repository, workers: Workers, tmp_path: Path
) -> None:
    moments = throttled_moments(hub, workers, "pull", repository.name, cache_dir=str(tmp_path / "first"))
    for attempt, moment in enumerate(moments):
        cache = tmp_path / str(attempt)
        job = workers.start("pull", repository.name, cache_dir=str(cache))
        time.sleep(moment)
        job.kill()
        job.result()
        try:
            kept = CondensedDataset.from_hub(repository.name, cache_dir=cache, local_files_only=True)
            assert seed_of(kept) == 0
        except HubUnavailableError:
            pass  # nothing at all is fine, a part would not be
        assert seed_of(CondensedDataset.from_hub(repository.name, cache_dir=cache)) == 0


def throttled_moments(hub: HubServer, workers: Workers, task: str, /, *what: Any, **more: Any) -> list[float]:
    """Slow the Hub down, run a task to its end, and draw random moments of its duration in seconds."""
    hub.fault(match=".", delay=0.02, times=10**6)
    started = time.monotonic()
    assert "error" not in workers.do(task, *what, **more)
    took, rng = time.monotonic() - started, random.Random(f"{task} 0")
    return [rng.uniform(0, took) for _ in range(KILLS)]


def test_a_build_that_is_killed_while_it_publishes(
    hub: HubServer, repo_id: str, workers: Workers, tmp_path: Path
) -> None:
    options = {"hub": repo_id, "push": True, "cache": str(tmp_path / "cache")}
    kill_when_reached(workers, hub, {"match": "PUT /uploads/"}, "build", 5, **options)
    assert workers.do("build", 5, **options) == {"seed": 5, "commit": None}
    other = {**options, "cache": str(tmp_path / "other")}
    head = hub.hub.repositories["dataset", repo_id].head.oid
    assert workers.do("build", 5, **other) == {"seed": 5, "commit": head}
