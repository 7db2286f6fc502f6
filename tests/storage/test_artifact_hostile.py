"""Hostile manifests and files, made by hand from the golden dataset.

Refused means an `ArtifactError` that names the file and the remedy. Checksums are valid unless they are what is
tested.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from artifact_files import GOLDEN, MANIFEST, TENSORS, edit

from condensed_data import ArtifactError, IntegrityError, NotACondensedDatasetError, UnsupportedFormatError
from condensed_data.storage import artifact


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN, tmp_path / "set")


def refused(directory: Path, expected: str, kind: type[Exception] = ArtifactError, **options: Any) -> None:
    with pytest.raises(kind, match=expected) as caught:
        artifact.read(directory, **options)
    message = str(caught.value)
    assert str(directory) in message
    assert len(message) < 800
    assert any(word in message for word in ("save", "Save", "Upgrade", "max_bytes"))


def test_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        refused(place, "found no such file", NotACondensedDatasetError)


def test_another_format(directory: Path) -> None:
    edit(directory, lambda manifest: manifest.update(format="other"))
    refused(directory, "format 'other'", NotACondensedDatasetError)


def test_unknown_fields_are_kept(directory: Path) -> None:
    edit(directory, lambda manifest: manifest.update(comment="later"))
    assert artifact.read(directory).manifest["comment"] == "later"


def test_versions(directory: Path) -> None:
    edit(directory, lambda manifest: manifest.update(format_version="1.7", later={"a": 1}))
    with pytest.warns(UserWarning, match=r"format 1\.7, newer than 1\.0.*Upgrade condensed-data"):
        assert artifact.read(directory).manifest["later"] == {"a": 1}
    edit(directory, lambda manifest: manifest.update(format_version="2.0", files="another layout"))
    refused(directory, r"version 2\.0, .* Upgrade condensed-data", UnsupportedFormatError)
    for version in ("1", "1.x", 1.0, None, "9" * 5000 + ".0"):
        edit(directory, lambda manifest, version=version: manifest.update(format_version=version))
        refused(directory, "format_version")


def test_unknown_features_are_refused(directory: Path) -> None:
    edit(directory, lambda manifest: manifest.update(required_features=["teleport"]))
    refused(directory, "'teleport'.*Upgrade condensed-data", UnsupportedFormatError)
    for features in (None, "teleport", [1], [["a"]]):
        edit(directory, lambda manifest, features=features: manifest.update(required_features=features))
        refused(directory, "required_features .*, expected a list of names")


@pytest.mark.parametrize("name", [TENSORS, "data/train-00000-of-00001.parquet"])
def test_corrupt_files(directory: Path, name: str) -> None:
    path = directory / name
    raw = path.read_bytes()
    path.write_bytes(raw[:-1])
    refused(directory, f"{name}: found {len(raw) - 1} bytes, expected {len(raw)}", IntegrityError)
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    refused(directory, f"{name}: found sha256", IntegrityError)


def test_a_missing_file(directory: Path) -> None:
    (directory / TENSORS).unlink()
    refused(directory, f"{TENSORS}: found no such file", IntegrityError)


def test_an_edited_manifest(directory: Path) -> None:
    text = (directory / MANIFEST).read_text()
    (directory / MANIFEST).write_text(text.replace('"mean": [0.5]', '"mean": [0.6]'))
    refused(directory, "corrupt or was edited.*verify=False", IntegrityError)
    assert artifact.read(directory, verify=False).manifest["value_space"]["mean"] == [0.6]


def test_more_bytes_than_allowed(directory: Path) -> None:
    refused(directory, "at most 100. If you trust the source, raise max_bytes", max_bytes=100)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "invalid JSON"),
        (b"[1]", "a JSON list, expected a JSON object"),
        (b'{"format": "condensed-data", "format": "x"}', "the key 'format' occurs twice"),
        (b'{"a": {"b": 1, "b": 1}}', "the key 'b' occurs twice"),
        (b'{"a": NaN}', "the number NaN"),
        (b'{"a": -Infinity}', "the number -Infinity"),
        (b'{"a": 1e999}', "which is not finite"),
        (b'{"a": ' + b"1" * 5000 + b"}", "an integer of 5000 digits"),
        (b'{"a": "\\ud800"}', "text that UTF-8 can encode"),
        (b'{"\\udfff": 1}', "text that UTF-8 can encode"),
        (b'{"a": "\xff"}', "invalid JSON"),
        ('{"a": 1}'.encode("utf-16"), "invalid JSON"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "too deeply nested"),
        (b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}", "too deeply nested"),
        (b'{"a": "' + b"x" * (1 << 20) + b'"}', "a larger file, expected at most 1048576 bytes"),
        (pickle.dumps({"format": "condensed-data"}), "invalid JSON"),
    ],
)
def test_manifests_that_are_not_strict_json(directory: Path, raw: bytes, expected: str) -> None:
    (directory / MANIFEST).write_bytes(raw)
    refused(directory, expected)


WRONG: list[tuple[str, list[Any]]] = [
    ("name", [None, 3, "x" * 1001]),
    ("num_classes", [0, -1, True, 2.0, "2", 1 << 63]),
    ("class_names", [None, "ab", ["a", 1], ["a"], ["a"] * 3]),
    ("class_values", [[3], [3, 3], [3, 8.0], [3, True], {"3": 8}]),
    ("shape", [[], None, [0, 3, 3], [1, 3, -3], [1, 3, 1e9], [1] * 8, [1, 3, 4]]),
    ("sample_kind", ["", "pil", "numpy:float32", "tensor:os.system('x')", 3]),
    ("value_space", [None, {}, "unit", {"kind": "odd", "mean": [0], "std": [1]}]),
    ("value_space", [{"kind": "unit", "mean": m, "std": s} for m, s in ([[], []], [[0], [0]], [[0], [-1]])]),
    (
        "value_space",
        [{"kind": "unit", "mean": m, "std": s} for m, s in ([[0, 0], [1]], [[0], 1], [["0"], [1]])],
    ),
    ("label", [None, {}, {"kind": "logits"}, {"kind": ["index"]}]),
    ("encoding", [None, {}, {"part": 1}]),
    ("recipe", [[], "dm", 1]),
    ("recipe_name", [None, 1]),
    ("ipc", [0, 1.5, None]),
    ("seed", [None, 0.5, "0"]),
    ("iterations", [-1, None]),
    ("source", [None, {"name": "x"}, {"name": "x", "fingerprint": 3, "num_samples": 1}]),
    ("training", [None, []]),
    ("evaluation", [None, {}, [1]]),
    ("environment", [None, {"torch": 2}]),
    ("history", [None, [1], [[1]], [[1, "x"]], [[1, 2, 3]], [[1, True]]]),
    ("files", [None, {}, [TENSORS], {TENSORS: {}}, {TENSORS: {"sha256": "x", "size": 1}}]),
    ("files", [{TENSORS: {"sha256": "a" * 64, "size": size}} for size in (-1, 1.5, None, "1")]),
    ("content_hash", [None, "", "A" * 64, "a" * 63]),
]


@pytest.mark.parametrize(("field", "values"), WRONG, ids=[f"{i}-{field}" for i, (field, _) in enumerate(WRONG)])
def test_fields_with_invalid_values(directory: Path, field: str, values: list[Any]) -> None:
    kept = (directory / MANIFEST).read_bytes()
    for value in values:
        (directory / MANIFEST).write_bytes(kept)
        edit(directory, lambda manifest, value=value: manifest.update({field: value}))
        refused(directory, "expected")
    (directory / MANIFEST).write_bytes(kept)
    edit(directory, lambda manifest: manifest.pop(field))
    refused(directory, f"no field '{field}'")


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "condensed.pt", "data/../../x", "a\\b", "", "CON", "README.md", "x\n"],
)
def test_unknown_file_names_are_refused(directory: Path, name: str) -> None:
    edit(directory, lambda manifest: manifest["files"].update({name: manifest["files"][TENSORS]}))
    refused(directory, "files = .*, expected an object of condensed.safetensors and")


def test_pipes_devices_and_folders_are_not_opened_as_files(directory: Path) -> None:
    for name in (TENSORS, MANIFEST):
        path = directory / name
        for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")):
            path.unlink()
            make(path)
            refused(directory, "a pipe, device or directory")
            path.rmdir() if path.is_dir() else path.unlink()
            shutil.copy(GOLDEN / name, path)


def test_any_corruption_is_detected_or_harmless(directory: Path) -> None:
    draw = random.Random(0)
    before = artifact.read(directory)
    for name in (MANIFEST, TENSORS):
        raw = (directory / name).read_bytes()
        for _ in range(250):
            corrupted = bytearray(raw)
            place = draw.randrange(len(raw))
            how = draw.choice(("flip", "cut", "drop", "repeat"))
            if how == "flip":
                corrupted[place] ^= 1 << draw.randrange(8)
            else:
                corrupted[place:] = {
                    "cut": b"",
                    "drop": raw[place + 1 :],
                    "repeat": raw[max(place - 9, 0) :],
                }[how]
            (directory / name).write_bytes(corrupted)
            try:
                after = artifact.read(directory)
            except ArtifactError:
                continue
            assert after.manifest == before.manifest
            assert all(torch.equal(after.tensors[key], value) for key, value in before.tensors.items())
        (directory / name).write_bytes(raw)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tensors": {"labels": torch.tensor([0, 0, 1, 2])}}, "labels from 0 to 2"),
        ({"tensors": {"images": torch.full((4, 1, 3, 3), float("inf"))}}, "NaN or infinity in 'images'"),
        ({"tensors": {"images": torch.zeros(4, 1, 3, 3, dtype=torch.float64)}}, "'images' of type"),
        ({"tensors": {"Odd": torch.zeros(1)}}, "a tensor named 'Odd'"),
        ({"manifest": {"class_values": [1, 1]}}, "repeated class_values"),
        ({"manifest": {"evaluation": [{"mean": float("nan")}]}}, "data that JSON cannot hold"),
        ({"manifest": {"recipe": {"function": print}}}, "data that JSON cannot hold"),
        ({"manifest": {"class_names": ["a", "\udcff"]}}, "text that UTF-8 can encode"),
        ({"manifest": {"required_features": ["teleport"]}}, "teleport"),
        ({"manifest": {"notes": "x" * (1 << 20)}}, "a manifest of .* bytes"),
    ],
)
def test_invalid_content_is_not_written(directory: Path, change: dict[str, Any], expected: str) -> None:
    found = artifact.read(directory)
    tensors = {**found.tensors, **change.get("tensors", {})}
    manifest = {**found.manifest, **change.get("manifest", {})}
    with pytest.raises(ArtifactError, match=expected) as caught:
        artifact.write(directory / "new", tensors, manifest, card="# New")
    assert "download" not in str(caught.value)
    assert not (directory / "new").exists()
