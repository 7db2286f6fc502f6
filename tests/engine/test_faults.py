"""Builds that are killed, starved and raced: a rerun ends at the same bits, and nothing partial is taken for whole."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from condensed_data.core.atomic import TEMPORARY

# One build: small enough for seconds, with every stage in it.
DEFINITIONS = """
import sys, time, torch
torch.set_num_threads(1)
from torch.utils.data import TensorDataset, Dataset
from condensed_data import CondensedDataset, recipes
from condensed_data.networks import ConvNet

class Slow(Dataset):
    def __init__(self):
        g = torch.Generator().manual_seed(3)
        self.x = torch.randn(300, 1, 12, 12, generator=g)
    def __len__(self):
        return len(self.x)
    def __getitem__(self, index):
        time.sleep(0.0005)
        return self.x[index], index % 3

def build(cache, out):
    recipe = recipes.dm(ipc=2, iterations=40, batch=16, network=ConvNet(width=8, depth=2))
    made = CondensedDataset(Slow(), recipe, cache=cache, progress=False, device="cpu", precision="fp32")
    made.save(out)
"""
BUILD = f"""{DEFINITIONS}
print("start", flush=True)
build(*sys.argv[1:])
print("done", flush=True)
"""
# Many builds in forks of one process, which imports once: each is killed, and then finished.
KILLS = f"""{DEFINITIONS}
import os, random, signal, traceback
from pathlib import Path

def start(folder):
    child = os.fork()
    if child == 0:
        try:
            build(folder / "cache", folder / "out")
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return child

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

root, draw = Path(sys.argv[1]), random.Random(0)
for name in ("first", "second"):  # the second time counts
    begin = time.perf_counter()
    assert ended(start(root / name)) == 0
    took = time.perf_counter() - begin
for number in range(int(sys.argv[2])):
    folder = root / str(number)
    child = start(folder)
    time.sleep(took * (draw.random() * 1.05 if number % 2 else draw.uniform(0.8, 1.05)))
    os.kill(child, signal.SIGKILL)
    status = ended(child)
    print(status, flush=True)
    if status == 0:  # it had ended: the machine is less busy than it was
        took *= 0.9
    assert all((stored / "condensed.json").is_file() for stored in folder.glob("cache/datasets/[!.]*"))
    assert ended(start(folder)) == 0
"""


def start(folder: Path, largest_file: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write that is too long fails instead of killing
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file or 0, resource.RLIM_INFINITY))

    environment = os.environ | {"CONDENSED_DATA_CHECKPOINT_SECONDS": "0.02", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder / "cache"), str(folder / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=None if largest_file is None else limit,
    )


def finish(process: subprocess.Popen[str]) -> None:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "done" in output


def bits(folder: Path) -> str:
    return hashlib.sha256((folder / "out" / "condensed.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """The bits of an uninterrupted build, and the seconds that it took after its imports."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "start\n"
    started = time.perf_counter()
    finish(process)
    return bits(folder), time.perf_counter() - started


def killed(folder: Path, after: float) -> None:
    process = start(folder)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def check_kills(folder: Path, whole: tuple[str, float], moments: list[float]) -> None:
    for moment in moments:
        killed(folder, moment * whole[1])
        for stored in (folder / "cache" / "datasets").glob("*"):
            assert stored.name.startswith(".") or (stored / "condensed.json").is_file()
    finish(start(folder))
    assert bits(folder) == whole[0]
    assert not list(folder.rglob(f"{TEMPORARY}*"))


def test_killed_three_times_in_a_row(tmp_path: Path, whole: tuple[str, float]) -> None:
    check_kills(tmp_path, whole, [0.3, 0.6, 0.8])


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_at_fifty_random_moments(tmp_path: Path, whole: tuple[str, float]) -> None:
    """Half of them near the end, where the result is saved to the cache and to a folder."""
    environment = os.environ | {"CONDENSED_DATA_CHECKPOINT_SECONDS": "0.02"}
    command = [sys.executable, "-c", KILLS, str(tmp_path), "50"]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert output.split().count(str(-signal.SIGKILL)) > 25  # the others had ended
    assert {bits(tmp_path / str(number)) for number in range(50)} == {whole[0]}
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


def test_four_processes_build_one_key_once(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(4)]
    waited = 0
    for process in processes:
        output, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        waited += "waiting for it" in output
    assert len(list((tmp_path / "cache" / "datasets").glob("[!.]*"))) == 1
    assert waited >= 1
    finish(start(tmp_path))


def test_a_disk_that_takes_no_large_file(tmp_path: Path, whole: tuple[str, float]) -> None:
    """Neither checkpoint nor result can be written: a sentence, nothing partial, and a rerun with room ends well."""
    process = start(tmp_path, largest_file=1500)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "SaveError" in errors
    assert "Could not save the checkpoint at iteration" in errors
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".safetensors"]
    finish(start(tmp_path))
    assert bits(tmp_path) == whole[0]


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own for the cache; the parameter is its mount options."""
    mount = tmp_path / "cache"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(mount)], check=True)
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def may_mount() -> bool:
    """Whether this process has the right to mount, as root on an ordinary machine has."""
    status = Path("/proc/self/status")
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.exists() else {}
    return bool(int(fields.get("CapEff", "0"), 16) >> 21 & 1)


@pytest.mark.slow
@pytest.mark.skipif(not may_mount(), reason="mounting a file system needs a right that this user has not")
@pytest.mark.parametrize("small_disk", ["size=4k", "size=8k", "size=12k", "size=20k", "ro"], indirect=True)
def test_a_cache_on_a_full_or_read_only_disk(tmp_path: Path, small_disk: Path, whole: tuple[str, float]) -> None:
    """The result is made and saved all the same, what could not be kept is said, and nothing partial stays."""
    process = start(tmp_path)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "done" in output
    assert bits(tmp_path) == whole[0]
    entries = list(small_disk.glob("datasets/*/condensed.json"))
    assert entries or "cannot be written" in errors
    assert not list(small_disk.rglob(f"{TEMPORARY}*"))
