"""Hostile Hub repositories: refused with little memory, and nothing in them is executed.

The contents of manifests, tensor files and third-party datasets are tested where they are read; this file tests pulls
and pushes. Checksums are valid unless they are what is tested.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import HubServer
from hub_server.history import File
from hub_worker import Workers, seed_of, small

from condensed_data import ArtifactError, CondensedDataset, NotACondensedDatasetError
from condensed_data.core import tensor_hash
from condensed_data.storage import manifest as manifests
from condensed_data.storage import safetensors_io

Files = dict[str, bytes]
MANIFEST, TENSORS = "condensed.json", "condensed.safetensors"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Of the dataset of seed 0."""
    small(0).save(tmp_path / "honest")
    return {
        path.relative_to(tmp_path / "honest").as_posix(): path.read_bytes()
        for path in (tmp_path / "honest").rglob("*")
        if path.is_file()
    }


def sealed(files: Files, /, **changes: Any) -> bytes:
    """The manifest with other fields and a valid checksum, computed by the documented rule."""
    manifest = {**json.loads(files[MANIFEST]), **changes}
    rest = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({**rest, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()


def with_tensors(files: Files, content: bytes, content_hash: str = "0" * 64) -> Files:
    """The dataset with another tensor file that the manifest lists."""
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    listed = {**json.loads(files[MANIFEST])["files"], TENSORS: entry}
    return {**files, TENSORS: content, MANIFEST: sealed(files, files=listed, content_hash=content_hash)}


def with_values(files: Files, **changes: Callable[[torch.Tensor], object]) -> Files:
    dataset = small(0)
    tensors = {"images": dataset.images.clone(), "labels": dataset.labels.clone()}
    for name, change in changes.items():
        change(tensors[name])
    return with_tensors(
        files, safetensors_io.serialize(tensors, manifests.TEXT_VERSION), tensor_hash.content_hash(tensors)
    )


def header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


class Bang:
    """An object that leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


MANIFESTS = {
    "too large": lambda files: b" " * (1 << 20) + files[MANIFEST],
    "data that JSON cannot hold": lambda files: b"{",
    "duplicate key": lambda files: files[MANIFEST].replace(b"{", b'{"seed": 1,', 1),
    "NaN": lambda files: files[MANIFEST].replace(b'"seed": 0', b'"seed": NaN'),
    "infinite": lambda files: files[MANIFEST].replace(b'"seed": 0', b'"seed": 1e999'),
    "deep": lambda files: b"[" * 100_000,
    "edited": lambda files: files[MANIFEST].replace(b'"seed": 0', b'"seed": 1'),
    "newer": lambda files: sealed(files, format_version="2.0"),
    "feature": lambda files: sealed(files, required_features=["magic"]),
    "a path": lambda files: sealed(
        files, files={**json.loads(files[MANIFEST])["files"], "../../evil": {"sha256": "0" * 64, "size": 1}}
    ),
    "absolute": lambda files: sealed(files, files={"/etc/passwd": {"sha256": "0" * 64, "size": 1}}),
    "huge shape": lambda files: sealed(files, shape=[3, 1 << 30, 1 << 30]),
    "classes": lambda files: sealed(files, class_values=[1]),
    "a pickle": lambda files: pickle.dumps(Bang()),
}
SETS: dict[str, Callable[[Files], Files]] = {
    "header bomb": lambda files: with_tensors(files, header(b"{}", 90 << 20)),
    "endless header": lambda files: with_tensors(files, header(b"{}", (1 << 63) - 1)),
    "long header": lambda files: with_tensors(files, header(b'{"a":"' + b"x" * (3 << 20) + b'"}')),
    "twice the same": lambda files: with_tensors(
        files,
        header(b'{"labels":{"dtype":"I64","shape":[0],"data_offsets":[0,0]},' * 2 + b'"x":0}'),
    ),
    "a pickle": lambda files: with_tensors(files, pickle.dumps(Bang())),
    "NaN": lambda files: with_values(files, images=lambda images: images[0].fill_(float("nan"))),
    "infinite": lambda files: with_values(files, images=lambda images: images[0].fill_(float("inf"))),
    "label too large": lambda files: with_values(files, labels=lambda labels: labels.add_(1)),
    "label below 0": lambda files: with_values(files, labels=lambda labels: labels.sub_(1)),
    "larger than announced": lambda files: {**files, TENSORS: files[TENSORS] + b"x"},
    "smaller than announced": lambda files: {**files, TENSORS: files[TENSORS][:-1]},
    "no tensors": lambda files: {path: content for path, content in files.items() if path != TENSORS},
    "other tensors": lambda files: {**files, TENSORS: bytes(len(files[TENSORS]))},
}
ALL = {name: lambda files, of=of: {**files, MANIFEST: of(files)} for name, of in MANIFESTS.items()}
ALL = {f"manifest: {name}": of for name, of in ALL.items()} | SETS


@pytest.mark.parametrize("name", ALL)
def test_hostile_repositories_are_refused(
    hub: HubServer, repo_id: str, files: Files, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tampered = ALL[name](files)
    assert tampered != files
    hub.add_repo(repo_id, tampered)
    with pytest.raises(ArtifactError) as caught:
        CondensedDataset.from_hub(repo_id, cache_dir=tmp_path / "cache")
    message = str(caught.value)
    assert repo_id in message or repo_id.replace("/", "--") in message
    assert len(message) < 900
    assert not (tmp_path / "unpickled").exists()


def test_files_larger_than_announced_are_not_downloaded(hub: HubServer, repo_id: str, files: Files) -> None:
    hub.add_repo(repo_id, {**files, TENSORS: bytes(10_000_000)})
    with pytest.raises(ArtifactError, match="found 10000000 bytes"):
        CondensedDataset.from_hub(repo_id)
    hub.add_repo(f"{repo_id}-b", {MANIFEST: bytes(2 << 20)})
    with pytest.raises(ArtifactError, match="found 2097152 bytes"):
        CondensedDataset.from_hub(f"{repo_id}-b")
    assert not hub.asked("GET /objects/")


def test_a_server_that_sends_more_than_announced(hub: HubServer, repo_id: str, files: Files) -> None:
    repository = hub.add_repo(repo_id, files)
    honest = repository.head.tree[TENSORS]
    other = hub.hub.store(TENSORS, files[TENSORS] + bytes(1000))
    lying = {**repository.head.tree, TENSORS: File(honest.size, sha256=other.sha256)}
    repository.add_commit("refs/heads/main", lying, "a lie", parent=repository.head)
    with pytest.raises(OSError, match="a transfer failed"):
        CondensedDataset.from_hub(repo_id)


def test_paths_outside_the_repository_are_skipped(hub: HubServer, repo_id: str, files: Files, tmp_path: Path) -> None:
    tricks = (
        "../evil",
        "a/../../evil",
        "..\\evil",
        "C:\\evil",
        "/evil",
        "con/condensed.json",
        "data/condensed.json",
    )
    hub.add_repo(repo_id, files | dict.fromkeys(tricks, files[MANIFEST]))
    cache = tmp_path / "deep" / "cache"
    assert seed_of(CondensedDataset.from_hub(repo_id, cache_dir=cache)) == 0
    kept = {path.name for path in tmp_path.rglob("snapshots/*/**/*") if not path.is_dir()}
    assert kept == {MANIFEST, TENSORS}
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
    hub.add_repo(f"{repo_id}-b", dict.fromkeys(tricks, files[MANIFEST]))
    with pytest.raises(NotACondensedDatasetError, match="contains no condensed dataset"):
        CondensedDataset.from_hub(f"{repo_id}-b", cache_dir=cache)
    for name in ("../evil", "..", "a\\b", "/evil", "data"):
        with pytest.raises(ValueError, match=r"config_name=.* is not a valid config name"):
            CondensedDataset.from_hub(repo_id, config_name=name)


def test_code_named_in_a_file_is_not_imported(
    hub: HubServer, repo_id: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')\nclass Recipe: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = {"part": "evil_module:Recipe", "version": 1, "matcher": "evil_module.Recipe"}
    scripts = {"condensed.py": b"raise SystemExit", f"{repo_id[6:]}.py": b"raise SystemExit"}
    hub.add_repo(repo_id, {**files, **scripts, MANIFEST: sealed(files, recipe=recipe)})
    found = CondensedDataset.from_hub(repo_id)
    assert found.recipe == recipe
    assert seed_of(found) == 0
    hub.add_repo(f"{repo_id}-b", {**files, MANIFEST: sealed(files, encoding=recipe)})
    assert seed_of(CondensedDataset.from_hub(f"{repo_id}-b")) == 0  # its own tensors are in a plain file
    assert "evil_module" not in sys.modules
    assert not hub.asked(r"GET .*\.py")


def test_pickles_are_not_loaded(hub: HubServer, repo_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hub.add_repo(repo_id, {"images.pt": pickle.dumps(Bang()), "condensed.pkl": pickle.dumps(Bang())})
    with pytest.raises(NotACondensedDatasetError, match=r"pickled tensors \(images\.pt\).*from_pt"):
        CondensedDataset.from_hub(repo_id)
    assert not hub.asked("GET /objects/")
    assert not (tmp_path / "unpickled").exists()


CARDS = {
    "aliases": b"---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\n",
    "depth": b"---\na: " + b"[" * 10_000 + b"]" * 10_000 + b"\n---\n",
    "a tag": b"---\na: !!python/object/apply:os.mkdir [unpickled]\n---\n",
    "size": b"---\na: 1\n---\n" + b"x" * (1 << 20),
}


@pytest.mark.parametrize("name", CARDS)
def test_hostile_cards_are_not_merged(
    hub: HubServer, repo_id: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    repository = hub.add_repo(repo_id, {"README.md": CARDS[name]})
    with pytest.raises(ValueError, match=r"README\.md"):
        small().push_to_hub(repo_id, token=hub.token("alice"))
    assert len(repository.history("main")) == 2
    assert not (tmp_path / "unpickled").exists()


def test_many_files_and_folders(hub: HubServer, repo_id: str, files: Files) -> None:
    hub.add_repo(repo_id, files | {f"f{number}/condensed.json": b"{" for number in range(300)})
    assert seed_of(CondensedDataset.from_hub(repo_id)) == 0
    assert len(hub.requests) < 10


@pytest.mark.slow
def test_bombs_take_little_memory(hub: HubServer, repo_id: str, files: Files, tmp_path: Path) -> None:
    with Workers(tmp_path) as workers:
        for index, name in enumerate(ALL):
            hub.add_repo(f"{repo_id}-{index}", ALL[name](files))
            found = workers.do("refusal", f"{repo_id}-{index}", cache_dir=str(tmp_path / "cache"))
            assert found["error"].endswith(("ArtifactError", "IntegrityError", "FormatError", "DatasetError")), found
            assert found["grown"] < 50 << 20, (name, found)
