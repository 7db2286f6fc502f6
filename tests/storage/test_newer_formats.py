"""Files of a newer release are called newer, with the upgrade as the remedy, and never corrupt."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from artifact_files import GOLDEN, edit
from hub_server import HubServer

from condensed_data import ArtifactError, CondensedDataset, UnsupportedFormatError
from condensed_data.storage import checkpoint
from condensed_data.storage.cache import Cache
from condensed_data.storage.result import CondensationResult

UPGRADE = r"pip install --upgrade condensed-data"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "set")
    return tmp_path / "set"


def is_newer(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is newer
        with pytest.raises(UnsupportedFormatError, match=UPGRADE) as caught:
            CondensationResult.load(path)
    assert "corrupt" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("version", ["2.0", "2", "2.0.1", "10.0", "2-beta", "9999.1"])
def test_newer_versions(version: str, directory: Path) -> None:
    for change in ({}, {"files": "another layout"}, {"required_features": 5}, {"shape": None}):
        edit(directory, lambda manifest, change=change: manifest.update(format_version=version, **change))
        assert f"format version {version}, expected version 1.x" in is_newer(directory)


@pytest.mark.parametrize("version", ["0.9", "0", "1", "1.0.1", "1.x", "-1.0", "99999.0", "", 2, None, [2, 0]])
def test_other_versions_are_not_newer(version: Any, directory: Path) -> None:
    edit(directory, lambda manifest: manifest.update(format_version=version))
    with pytest.raises(ArtifactError, match="format_version") as caught:
        CondensationResult.load(directory)
    assert not isinstance(caught.value, UnsupportedFormatError)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["value_space"].update(kind="logarithmic"),
        lambda manifest: manifest["label"].update(kind="ranking"),
        lambda manifest: manifest.update(sample_kind="tensor:complex64"),
        lambda manifest: manifest.update(ipc=2.5),
        lambda manifest: manifest.pop("history"),
        lambda manifest: manifest["encoding"].update(part="Wavelets"),
        lambda manifest: manifest["training"].update(epochs_of_a_later_release=5),
        lambda manifest: manifest["training"].update(version=99),
    ],
    ids=["value space", "label", "sample kind", "type", "missing", "encoding", "training", "part version"],
)
def test_what_a_newer_minor_version_means(change: Any, directory: Path) -> None:
    """It says 1.7, so this version does not know what it contains; the same content under 1.0 is an error in itself."""
    edit(directory, lambda manifest: (change(manifest), manifest.update(format_version="1.7")))
    is_newer(directory)
    edit(directory, lambda manifest: manifest.update(format_version="1.0"))
    with pytest.raises(ArtifactError):
        CondensationResult.load(directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["encoding"].update(part="Wavelets"),
        lambda manifest: manifest["encoding"].update(version=99),
        lambda manifest: manifest["training"].update(part="CurriculumTraining"),
        lambda manifest: manifest["training"].update(epochs_of_a_later_release=5),
        lambda manifest: manifest.update(required_features=["diffusion"]),
    ],
)
def test_parts_of_another_release(change: Any, directory: Path) -> None:
    """A release can add parts without a new version of the format."""
    edit(directory, change)
    is_newer(directory)


def test_changed_bytes_of_a_newer_version_are_corrupt(directory: Path) -> None:
    edit(directory, lambda manifest: manifest.update(format_version="1.7"))
    path = directory / "condensed.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.warns(UserWarning, match="newer than 1.0"), pytest.raises(ArtifactError, match="sha256") as caught:
        CondensationResult.load(directory)
    assert not isinstance(caught.value, UnsupportedFormatError)


@pytest.mark.parametrize("version", ["2.0", "1.7"])
def test_the_cache(version: str, directory: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    shutil.copytree(directory, cache.entry_path("k"))
    edit(cache.entry_path("k"), lambda manifest: manifest.update(format_version=version, shape=None))
    with pytest.warns(UserWarning, match="cannot be read and is condensed again") as caught:
        assert cache.load("k") is None
    message = str(caught[-1].message)
    assert UPGRADE in message
    assert "corrupt" not in message
    assert not (tmp_path / "cache" / "corrupt").exists()


def test_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "FORMAT", 2)
        checkpoint.write(tmp_path / "x", {"iteration": 1}, {})
    with pytest.raises(checkpoint.CheckpointError, match=r"has format 2, but this release reads 1.*that wrote it can"):
        checkpoint.read(tmp_path / "x", {})


def test_the_hub(directory: Path, hub: HubServer, repo_id: str) -> None:
    edit(directory, lambda manifest: manifest.update(format_version="2.0"))
    files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    hub.add_repo(repo_id, files)
    with pytest.raises(UnsupportedFormatError, match=UPGRADE) as caught:
        CondensedDataset.from_hub(repo_id)
    assert "corrupt" not in str(caught.value)
    assert json.loads(files["condensed.json"])["format_version"] == "2.0"
