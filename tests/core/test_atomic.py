"""Temporary files and folders: those of killed processes are removed by the next writer, those of live ones never."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from condensed_data.core import atomic
from condensed_data.core.atomic import temporary, temporary_name, write_atomically
from condensed_data.storage import atomic_directory
from condensed_data.storage.cache import Cache

HOLD = """
import sys, time
from pathlib import Path
from condensed_data.core.atomic import temporary
with temporary(Path(sys.argv[1]), folder=sys.argv[2] == "folder") as path:
    print(path.name, flush=True)
    time.sleep(600)
"""
# every way in which the library writes into a folder
WRITERS: dict[str, Callable[[Path], object]] = {
    "file": lambda folder: write_atomically(folder / "file", b"x"),
    "dataset in the folder": lambda folder: atomic_directory.replace_all(folder, {"README.md": b""}),
    "dataset as the folder's child": lambda folder: atomic_directory.replace_all(folder / "set", {"README.md": b""}),
    "check": lambda folder: atomic_directory.check_writable(folder),
}


def hold(folder: Path, kind: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that is writing to a temporary file or folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, folder / process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names that processes left when they were killed."""
    folder = tmp_path_factory.mktemp("killed")
    names = {}
    for kind in ("file", "folder"):
        process, path = hold(folder, kind)
        kill(process)
        assert path.exists()
        names[kind] = path.name
    return names


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_live_process_keeps_its_own_until_it_is_killed(tmp_path: Path, kind: str) -> None:
    process, path = hold(tmp_path, kind)
    os.utime(path, (1, 1))  # however old it is
    for write in WRITERS.values():
        write(tmp_path)
        assert path.exists()
    kill(process)
    WRITERS["file"](tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_removes_what_was_left(tmp_path: Path, template: dict[str, str], writer: str) -> None:
    (tmp_path / template["file"]).write_text("half")
    (tmp_path / template["folder"] / "data").mkdir(parents=True)
    (tmp_path / template["folder"] / "data" / "file").write_text("half")
    (tmp_path / "other").write_text("mine")
    WRITERS[writer](tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(atomic.TEMPORARY)]
    assert (tmp_path / "other").read_text() == "mine"


def test_those_of_another_machine_stay_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its locks may not be seen here."""
    with monkeypatch.context() as there:
        there.setattr(atomic, "_MACHINE", "elsewhere")
        young, old = tmp_path / temporary_name(), tmp_path / temporary_name()
    for path in (young, old):
        path.mkdir()
    os.utime(old, (0, time.time() - 2 * 24 * 3600))
    write_atomically(tmp_path / "file", b"x")
    assert (young.exists(), old.exists()) == (True, False)


def test_without_locks_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    young, old = tmp_path / temporary_name(), tmp_path / temporary_name()
    for broken in (refuse, None):
        monkeypatch.setattr(atomic, "flock", broken)
        young.touch()
        old.touch()
        os.utime(old, (0, time.time() - 2 * 24 * 3600))
        assert write_atomically(tmp_path / "file", b"x").read_bytes() == b"x"
        assert (young.exists(), old.exists()) == (True, False)


def test_threads_that_write_at_once_do_not_remove_each_others(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(150):
                write_atomically(tmp_path / str(number % 2), b"x" * 1000)
                with temporary(tmp_path, folder=True) as path:
                    (path / "file").write_text("x")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(os.listdir(tmp_path)) == ["0", "1"]


def test_a_killed_eviction_is_finished_by_the_next(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    gone = tmp_path / "datasets" / temporary_name()
    gone.mkdir(parents=True)
    atomic_directory.replace_all(cache.entry_path("key"), {"condensed.json": b"{}"})
    assert [entry.key for entry in cache.entries()] == ["key"]
    assert not gone.exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_atomically(tmp_path / "file", b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"Cannot write path=.*the disk is full\. Free some space") as caught:
        write_atomically(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
