"""Paths that lead nowhere, in circles, to other things, or that no system accepts: our errors, with true sentences."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_worker import seed_of, small

from condensed_data import ArtifactError, CondensedDataset, NotACondensedDatasetError, SaveError
from condensed_data.storage.atomic_directory import PENDING, check_writable

load, from_pt = CondensedDataset.load, CondensedDataset.from_pt


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    small().save(tmp_path / "set")
    return tmp_path / "set"


def link(path: Path) -> Path:
    path.unlink(missing_ok=True)
    path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    "name",
    ["condensed.json", "condensed.safetensors", "data/train-00000-of-00001.parquet", PENDING],
)
def test_links_that_lead_to_themselves(name: str, directory: Path) -> None:
    link(directory / name)
    with pytest.raises(ArtifactError, match=r"Too many levels of symbolic links.*Correct its permissions, or the link"):
        load(directory)


def test_folders_that_lead_to_themselves(tmp_path: Path) -> None:
    loop = link(tmp_path / "loop")
    for path in (loop, loop / "x"):
        with pytest.raises(ArtifactError, match=r"Too many levels"):
            load(path)
        for save in (small().save, check_writable):
            with pytest.raises(SaveError, match=r"a symbolic link leads to itself .*Correct the link"):
                save(path)
        with pytest.raises(FileNotFoundError, match="is not a file"):
            from_pt(path)


@pytest.mark.parametrize("make", [link, Path.touch], ids=["link", "file"])
def test_something_else_where_saves_are_pending(make: Callable[[Path], Any], directory: Path) -> None:
    """What is there stays readable, and nothing is said to be saved."""
    make(directory / PENDING)
    with pytest.raises(SaveError, match=rf"an unrelated file is in the way .*{PENDING}"):
        small(1).save(directory)
    (directory / PENDING).unlink()
    assert seed_of(load(directory)) == 0


def test_a_dataset_cannot_be_saved_where_another_one_keeps_its_pending_files(directory: Path) -> None:
    for path in (directory / PENDING, directory / PENDING / "x"):
        with pytest.raises(SaveError, match="in the way"):
            small(1).save(path)
    assert seed_of(load(directory)) == 0


def test_a_dataset_inside_another_one(directory: Path) -> None:
    for name in ("inner", "data", "data/inner"):
        small(1).save(directory / name)
        small(2).save(directory)
        assert (seed_of(load(directory / name)), seed_of(load(directory))) == (1, 2)


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x/\0", 5, None, b"x", ["x"]])
def test_values_that_are_no_path(name: Any, tmp_path: Path) -> None:
    given = f"{tmp_path}/{name}" if isinstance(name, str) else name
    for call in (load, small().save, check_writable):
        with pytest.raises(ValueError, match=r"directory=.*(Choose another name|or a Path)\.$"):
            call(given)
    if not isinstance(name, list):
        with pytest.raises(ValueError, match=r"\bpath=.*(Choose another name|or a Path)\.$"):
            from_pt(given)


@pytest.mark.parametrize("name", ["a" * 300, "/".join(["a" * 200] * 30)])
def test_names_that_are_too_long(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="File name too long"):
        load(tmp_path / name)
    with pytest.raises(SaveError, match=r"the name is too long .*Choose a shorter one"):
        small().save(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        from_pt(tmp_path / name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.touch(), "the path or a parent of it is not a directory|file is in the way"),
        (lambda path: path.symlink_to(path.with_name("nowhere")), "not a directory|file is in the way"),
    ],
)
def test_a_file_where_a_folder_is_expected(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    for path in (tmp_path / "x", tmp_path / "x" / "y"):
        with pytest.raises(NotACondensedDatasetError, match="no such file"):
            load(path)
        with pytest.raises(SaveError, match=message):
            small().save(path)


def test_a_folder_where_a_file_is_expected(directory: Path) -> None:
    for name in ("README.md", "condensed.json"):
        (directory / name).unlink()
        (directory / name).mkdir()
        with pytest.raises(SaveError, match=r"a directory is in the way|file is in the way"):
            small(1).save(directory)
    with pytest.raises(ArtifactError, match=r"a pipe, device or directory, expected a regular file"):
        load(directory)


def test_files_without_permission(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refused)  # root may open everything
    with pytest.raises(ArtifactError, match=r"Permission denied.*Correct its permissions"):
        load(directory)


def test_files_that_are_not_tensors(tmp_path: Path) -> None:
    """The message never repeats torch's advice to load them without checks."""
    torch.save({"x": pytest.raises}, tmp_path / "code.pt")
    (tmp_path / "text.pt").write_text("hello")
    for name, reason in (("code", "it refers to "), ("text", "or is corrupt")):
        with pytest.raises(ArtifactError, match=reason) as caught:
            from_pt(tmp_path / f"{name}.pt")
        assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("loop/x.png", "is in the way|leads to itself"),
        ("file/x.png", "is in the way|not a directory"),
        ("a" * 300 + ".png", "the name is too long"),
        ("folder.png", "a directory is in the way"),
    ],
)
def test_pictures(path: str, message: str, tmp_path: Path) -> None:
    link(tmp_path / "loop")
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match=rf"Cannot write path=.*({message}).*(Choose|Move|Correct)"):
        small().plot(tmp_path / path)
    with pytest.raises(ValueError, match=r"path=.* contains NUL"):
        small().plot(tmp_path / "a\0.png")
