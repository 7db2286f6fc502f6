"""Saves that fail: full disks, missing permissions, unrelated files in the way.

The error names the directory, the cause and the remedy, and the previous content is unchanged.
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from condensed_data import SaveError
from condensed_data.storage import artifact, atomic_directory

GOLDEN = Path(__file__).parent / "golden" / "format-1.0"


def save(directory: Path, seed: int) -> None:
    """Save a dataset whose pixels follow from its seed."""
    described = {**artifact.read_manifest(GOLDEN), "shape": [1, 64, 64], "seed": seed}
    images = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(seed))
    stored = {"images": images, "labels": torch.tensor([0, 0, 1, 1])}
    artifact.write(directory, stored, described, card=f"# Set {seed}\n")


def seed_of(directory: Path) -> int:
    return int(artifact.read(directory).manifest["seed"])


def listing(directory: Path) -> dict[str, bytes | None]:
    paths = sorted(directory.rglob("*"))
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in paths}


def attempt(save_or_check: Callable[[], None], number: int) -> None:
    with pytest.raises(SaveError) as caught:
        save_or_check()
    assert caught.value.errno == number
    print(caught.value)


def file_size_limit(root: Path) -> None:
    save(root / "set", 0)
    before = listing(root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, resource.RLIM_INFINITY))
    for name in ("set", "new"):
        attempt(lambda name=name: save(root / name, 1), errno.EFBIG)
        assert listing(root) == before


def closed_folder(root: Path) -> None:
    save(root / "set", 0)
    before = listing(root)
    for path in (root / "set", root):
        path.chmod(0o555)
    if os.geteuid() == 0:  # root may write to any folder
        os.seteuid(65534)
    for name in ("set", "new"):
        attempt(lambda name=name: atomic_directory.check_writable(root / name), errno.EACCES)
        attempt(lambda name=name: save(root / name, 1), errno.EACCES)
    os.seteuid(os.getuid())
    assert listing(root) == before
    for path in (root, root / "set"):
        path.chmod(0o755)


def run(part: str) -> list[str]:
    """The lines printed by the function of this name in a separate process."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        command = [sys.executable, __file__, part, root]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_file_size_limit() -> None:
    lines = run("file_size_limit")
    assert len(lines) == 2
    for line, name in zip(lines, ("set", "new"), strict=True):
        assert line.startswith("Cannot write to ")
        assert f"/{name}: a file exceeds the file size limit. Raise the file size limit" in line


def test_a_folder_without_write_permission() -> None:
    lines = run("closed_folder")
    assert len(lines) == 4
    for line in lines:
        assert "permission denied" in line
        assert "Choose a directory you can write to" in line


@pytest.mark.parametrize("name", ["set", "new"])
@pytest.mark.parametrize("working", range(6))  # four files and two folders are made durable before the first rename
def test_a_full_disk(tmp_path: Path, name: str, working: int, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set", 0)
    before = listing(tmp_path)
    calls = iter(range(100))

    def fsync(descriptor: int) -> None:
        if next(calls) == working:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SaveError, match=r"the disk is full\. Free some space") as caught:
        save(tmp_path / name, 1)
    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.errno == errno.ENOSPC
    assert listing(tmp_path) == before
    save(tmp_path / name, 1)
    assert seed_of(tmp_path / name) == 1


def test_an_interrupt_keeps_the_old_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set", 0)
    before = listing(tmp_path)

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "set", 1)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("where", ["file", "file/set", "file/deep/set"])
def test_a_file_in_place_of_a_folder(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("mine")
    for save_or_check in (atomic_directory.check_writable, lambda path: save(path, 0)):
        with pytest.raises(SaveError, match="Cannot write to"):
            save_or_check(tmp_path / where)
    assert listing(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("name", ["condensed.json/", "data", "data/train-00000-of-00001.parquet"])
def test_unrelated_files_are_not_replaced(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if name.endswith("/") else path.write_text("mine")
    before = listing(tmp_path)
    for save_or_check in (atomic_directory.check_writable, lambda path: save(path, 0)):
        with pytest.raises(SaveError, match="in the way"):
            save_or_check(tmp_path)
    assert listing(tmp_path) == before


def test_checking_a_writable_directory_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path / "set", 0)
    before = listing(tmp_path)
    atomic_directory.check_writable(tmp_path / "set")
    atomic_directory.check_writable(tmp_path / "not" / "yet" / "there")
    assert listing(tmp_path) == before


if __name__ == "__main__":
    torch.set_num_threads(1)
    globals()[sys.argv[1]](Path(sys.argv[2]))
