"""Kills of a save at every step and at any time, and several concurrent writers.

A reader finds the old or the new dataset, complete, and unrelated files stay. The processes to be killed are forked
from one fresh interpreter without threads, which runs this file as a script.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from condensed_data.storage import artifact

GOLDEN = Path(__file__).parent / "golden" / "format-1.0"
Printed = Callable[[str], list[str]]


def save(directory: Path, seed: int, *, size: int = 64, **options: Any) -> None:
    """Save a dataset whose pixels follow from its seed."""
    described = {**artifact.read_manifest(GOLDEN), "shape": [1, size, size], "seed": seed}
    images = torch.rand(4, 1, size, size, generator=torch.Generator().manual_seed(seed))
    stored = {"images": images, "labels": torch.tensor([0, 0, 1, 1])}
    artifact.write(directory, stored, described, card=f"# Set {seed}\n", **options)


def seed_of(directory: Path) -> int:
    """The seed of the dataset that a reader finds; its pixels must match."""
    found = artifact.read(directory)
    seed = found.manifest["seed"]
    images = found.tensors["images"]
    assert torch.equal(images, torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)))
    return int(seed)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """The lines printed by a part of the script, which must have finished."""
    root = tmp_path_factory.mktemp("faults")
    root.chmod(0o755)
    subprocess.run([sys.executable, __file__, str(root)], check=True, timeout=120)

    def of(part: str) -> list[str]:
        *lines, last = (root / f"{part}.txt").read_text().splitlines()
        assert last == "0", "\n".join(lines)
        return lines

    return of


def run_all(root: Path) -> None:
    """Run every part in its own process and folder."""
    save(root / "warm", 0)  # because imports open files too
    for part in PARTS:
        folder = root / part.__name__
        folder.mkdir()
        with (root / f"{part.__name__}.txt").open("w", buffering=1) as sys.stdout:
            sys.stderr = sys.stdout
            status = os.waitpid(start(lambda part=part, folder=folder: part(folder)), 0)[1]
            print(status)


def start(work: Callable[[], None]) -> int:
    """Run `work` in a forked process, whose status is 1 if it fails; returns its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return child


def in_child(work: Callable[[], None], until: float | None = None) -> bool:
    """Run `work` in a forked process, killed after `until` seconds if given; returns whether it finished."""
    child = start(work)
    if until is not None:
        time.sleep(until)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == 0


def die_at(step: int) -> None:
    """Kill this process right before its `step`-th file system operation."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove"):
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def kill_at_every_step(root: Path) -> None:
    directory = root / "set"
    directory.mkdir()
    (directory / "mine.txt").write_text("mine")
    save(directory, 0)
    found: list[int] = []

    def work() -> None:
        die_at(len(found) + 1)
        save(directory, 1, preview=False)

    while not in_child(work):
        found.append(seed_of(directory))
        assert (directory / "mine.txt").read_text() == "mine"
        save(directory, 0)
        assert seed_of(directory) == 0
        assert not (directory / ".condensed-data.pending").exists()
    assert seed_of(directory) == 1
    assert not (directory / "data" / "train-00000-of-00001.parquet").exists()
    print(*found)


def kill_first_save_at_every_step(root: Path) -> None:
    found: list[int] = []

    def work() -> None:
        die_at(len(found) + 1)
        save(root / str(len(found)) / "set", 1)

    while not in_child(work):
        directory = root / str(len(found)) / "set"
        found.append(seed_of(directory) if directory.exists() else -1)
    print(*found)


def kill_at_any_time(root: Path) -> None:
    directory = root / "set"
    large: dict[str, Any] = {"size": 500, "preview": False}
    for _ in range(2):  # the second time counts
        started = time.perf_counter()
        save(directory, 0, **large)
    took = time.perf_counter() - started
    for attempt in range(1, 21):
        in_child(lambda seed=attempt: save(directory, seed, **large), until=took * 1.5 * attempt / 20)
        print(attempt, seed_of(directory))


def write_and_read_at_once(root: Path) -> None:
    directory = root / "set"
    save(directory, 0)

    def work(first: int) -> None:
        for seed in range(first, first + 25):
            save(directory, seed)

    children = [start(lambda first=first: work(first)) for first in (100, 200, 300)]
    seen = set()
    while children:
        seen.add(seed_of(directory))
        ended = [(child, *os.waitpid(child, os.WNOHANG)) for child in children]
        assert {status for _, _, status in ended} == {0}
        children = [child for child, number, _ in ended if number == 0]
    print(len(seen), seed_of(directory))
    assert not [path for path in root.rglob(".*") if path.is_dir()]


PARTS = (kill_at_every_step, kill_first_save_at_every_step, kill_at_any_time, write_and_read_at_once)


def test_a_kill_at_any_step_leaves_the_old_or_the_new_dataset(printed: Printed) -> None:
    (line,) = printed("kill_at_every_step")
    found = line.split()
    assert len(found) > 15
    assert found == sorted(found)
    assert set(found) == {"0", "1"}


def test_a_kill_during_the_first_save_leaves_nothing_or_a_complete_dataset(printed: Printed) -> None:
    (line,) = printed("kill_first_save_at_every_step")
    assert len(line.split()) > 10
    assert set(line.split()) <= {"-1", "1"}


def test_a_kill_at_any_time_leaves_a_complete_dataset(printed: Printed) -> None:
    found = [tuple(map(int, line.split())) for line in printed("kill_at_any_time")]
    assert len(found) == 20
    previous = 0
    for attempt, seed in found:
        assert seed in (previous, attempt)
        previous = seed


def test_readers_never_see_a_partial_dataset_beside_several_writers(printed: Printed) -> None:
    (line,) = printed("write_and_read_at_once")
    seen, last = map(int, line.split())
    assert seen > 1
    assert last in (124, 224, 324)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_all(Path(sys.argv[1]))
