"""Malformed tensor files, made byte by byte, with valid sizes and checksums in the manifest.

Refused means an `ArtifactError` that names the file and the remedy, in bounded memory and without unpickling.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from artifact_files import GOLDEN, MANIFEST, TENSORS, edit

from condensed_data import ArtifactError
from condensed_data.storage import artifact


def replace_file(directory: Path, raw: bytes) -> None:
    """Replace the tensor file by `raw`, and update its size and checksum in the manifest."""
    (directory / TENSORS).write_bytes(raw)
    entry = {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw)}
    edit(directory, lambda manifest: manifest["files"].update({TENSORS: entry}))


def forge(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def pack(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """A well-formed file of (type, shape, bytes) by name."""
    header, data = {}, b""
    for name, (code, shape, raw) in tensors.items():
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return forge(header, data)


def images(*values: float, count: int = 36) -> tuple[str, list[int], bytes]:
    numbers = [*values, *[0.5] * (count - len(values))]
    return "F32", [count // 9, 1, 3, 3], struct.pack(f"<{count}f", *numbers)


def labels(*values: int) -> tuple[str, list[int], bytes]:
    return "I64", [len(values)], struct.pack(f"<{len(values)}q", *values)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN, tmp_path / "set")


def refused(directory: Path, expected: str) -> None:
    with pytest.raises(ArtifactError, match=expected) as caught:
        artifact.read(directory)
    message = str(caught.value)
    assert str(directory) in message
    assert any(
        remedy in message
        for remedy in ("Save or download it again", "raise max_bytes", "save a condensed dataset there")
    )
    assert len(message) < 800


def test_the_helpers_of_this_file_write_valid_files(directory: Path) -> None:
    replace_file(directory, pack(GOOD))
    assert artifact.read(directory, verify=False).tensors["images"].shape == (4, 1, 3, 3)
    refused(directory, "different content, expected content_hash")


GOOD = {"images": images(), "labels": labels(0, 0, 1, 1)}
ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "a header of"),
        (b"\0\0\0", "a header of"),
        (forge({}, length=100 << 30), "a header of 107374182400 bytes, expected at most"),
        (forge({}, length=(1 << 64) - 1), "a header of 18446744073709551615 bytes"),
        (forge(b" " * ((1 << 20) + 1)), "a header of 1048577 bytes"),
        (forge({}, length=3), "a header of 3 bytes"),
        (pickle.dumps(GOOD), "a header of"),
        (forge(b'{"a": 1, "a": 2}'), "the key 'a' occurs twice"),
        (forge(b"{" + b'"a":[' * 9000), "too deeply nested|invalid JSON"),
        (forge({}), "the tensors"),
        (forge({"a": 1}), "1 for tensor 'a'"),
        (forge({"a": {**ENTRY, "extra": 1}}, b"\0" * 4), "for tensor 'a', expected its dtype"),
        (forge({"a": {**ENTRY, "dtype": 1}}, b"\0" * 4), "for tensor 'a', expected its dtype"),
        (forge({"a": {**ENTRY, "shape": [1.0]}}, b"\0" * 4), "for tensor 'a', expected its dtype"),
        (forge({"a": {**ENTRY, "shape": "1"}}, b"\0" * 4), "for tensor 'a', expected its dtype"),
        (forge({"a": {**ENTRY, "data_offsets": [0]}}, b"\0" * 4), "for tensor 'a', expected its dtype"),
        (forge({"a": {**ENTRY, "data_offsets": [0, True]}}, b"\0"), "for tensor 'a', expected its dtype"),
        (forge({"a": {**ENTRY, "data_offsets": [-4, 0]}}, b""), "'a' at byte -4"),
        (forge({"a": {**ENTRY, "data_offsets": [4, 8]}}, b"\0" * 8), "'a' at byte 4, expected at byte 0"),
        (forge({"a": ENTRY, "b": ENTRY}, b"\0" * 4), "'b' at byte 0, expected at byte 4"),
        (forge({"a": ENTRY}, b"\0" * 5), "5 bytes of data, expected 4"),
        (forge({"a": ENTRY}, b"\0" * 3), "3 bytes of data, expected 4"),
        (forge({"a": {**ENTRY, "shape": [1 << 40]}}, b"\0" * 4), "4 bytes for 'a'"),
        (forge({"a": {**ENTRY, "shape": [1 << 41]}}, b"\0" * 4), "'a' of shape"),
        (forge({"a": {**ENTRY, "shape": [1] * 9}}, b"\0" * 4), "'a' of shape"),
        (forge({"a": {**ENTRY, "shape": [9**18] * 9000}}, b"\0" * 4), "'a' of shape"),
        (forge({"a": {**ENTRY, "shape": [0], "data_offsets": [0, 0]}}), "'a' of shape"),
        (forge({"a": {**ENTRY, "shape": [-1]}}, b"\0" * 4), "'a' of shape"),
        (forge({"../../x": ENTRY}, b"\0" * 4), "a tensor named '../../x'"),
        (forge({"Images": ENTRY}, b"\0" * 4), "a tensor named 'Images'"),
        (forge({"a" * 65: ENTRY}, b"\0" * 4), "a tensor named 'aaaa"),
        (forge({"a\n": ENTRY}, b"\0" * 4), "a tensor named"),
        (forge({"a": {**ENTRY, "dtype": "F64"}}, b"\0" * 4), "'a' of type 'F64', expected one of F32"),
        (forge({"a": {**ENTRY, "dtype": "object"}}, b"\0" * 4), "'a' of type 'object'"),
        (pack({"images": images()}), "expected a tensor named 'labels'"),
        (pack({"labels": labels(0, 0, 1, 1)}), "expected a tensor named 'images'"),
        (pack({**GOOD, "labels": labels(0, 0, 1, 2)}), "labels from 0 to 2, expected labels from 0 to 1"),
        (pack({**GOOD, "labels": labels(0, -1, 1, 1)}), "labels from -1 to 1"),
        (pack({**GOOD, "labels": labels(0, 0, 1)}), "'images' of shape"),
        (pack({**GOOD, "labels": ("I64", [4, 1], b"\0" * 32)}), "'labels' of shape"),
        (pack({**GOOD, "labels": ("I64", [], b"\0" * 8)}), "'labels' of shape"),
        (pack({**GOOD, "labels": ("F32", [4], b"\0" * 16)}), "'labels' of shape"),
        (pack({**GOOD, "images": images(count=45)}), "'images' of shape"),
        (pack({**GOOD, "images": ("F32", [4, 3, 3, 1], b"\0" * 144)}), "'images' of shape"),
        (pack({**GOOD, "images": ("F32", [], b"\0" * 4)}), "'images' of shape"),
        (pack({**GOOD, "images": images(float("nan"))}), "NaN or infinity in 'images'"),
        (pack({**GOOD, "extra": ("F16", [1], b"\0\x7c")}), "NaN or infinity in 'extra'"),
        (pack({**GOOD, "extra": ("BF16", [1], b"\x80\x7f")}), "NaN or infinity in 'extra'"),
    ],
)
def test_malformed_tensor_files_are_refused(directory: Path, raw: bytes, expected: str) -> None:
    replace_file(directory, raw)
    refused(directory, expected)


def test_probabilities_with_a_wrong_number_of_classes(directory: Path) -> None:
    edit(directory, lambda manifest: manifest.update(label={"kind": "probs"}))
    refused(directory, r"expected \(N, 2\) of a float type")


def test_scores_may_be_negative_and_probabilities_may_not(directory: Path) -> None:
    scores = {**GOOD, "labels": ("F32", [4, 2], struct.pack("<8f", *[-0.5, 0.5] * 4))}
    replace_file(directory, pack(scores))
    edit(directory, lambda manifest: manifest.update(label={"kind": "probs"}))
    refused(directory, "probabilities of at least 0")
    edit(directory, lambda manifest: manifest.update(label={"kind": "scores"}))
    assert artifact.read(directory, verify=False).tensors["labels"].min() == -0.5


def test_nothing_is_unpickled(directory: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(directory / "exploded"),)

    for raw in (pickle.dumps(Bomb()), forge(pickle.dumps(Bomb()))):
        replace_file(directory, raw)
        refused(directory, "found")
        (directory / MANIFEST).write_bytes(raw)
        refused(directory, "invalid JSON")
        shutil.copy(GOLDEN / MANIFEST, directory)
    assert not (directory / "exploded").exists()


def test_hostile_files_are_refused_with_little_memory(tmp_path: Path) -> None:
    subprocess.run([sys.executable, __file__, str(tmp_path)], check=True, timeout=120)


def refuse_in_little_memory(root: Path) -> None:
    """With only 128 MiB of additional memory, each file is refused with the right message."""

    def manifest(raw: bytes, size: int | None = None) -> Callable[[Path], None]:
        def put(directory: Path) -> None:
            (directory / MANIFEST).write_bytes(raw)
            if size is not None:
                os.truncate(directory / MANIFEST, size)

        return put

    def sparse(directory: Path) -> None:
        os.truncate(directory / TENSORS, 8 << 30)
        edit(directory, lambda found: found["files"][TENSORS].update(size=8 << 30))

    def tensors(raw: bytes) -> Callable[[Path], None]:
        return lambda directory: replace_file(directory, raw)

    cases = {
        "a larger file": manifest(b"{", 50 << 20),
        "too deeply nested": manifest(b"[" * (1 << 20)),
        "a JSON list": manifest(b"[" + b"{}," * 300_000 + b"{}]"),
        "an integer of": manifest(b"1" * (1 << 20)),
        "format None": manifest(b'{"a": [' + b'"",' * 300_000 + b'""]}'),
        "files of": sparse,
        "a header of": tensors(forge({}, length=100 << 30)),
        "bytes for 'a'": tensors(forge({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}, b"1234")),
        "'a' of shape": tensors(forge({"a": {"dtype": "U8", "shape": [9**18] * 40_000, "data_offsets": [0, 4]}})),
        "1 for tensor": tensors(forge(b'{"a0":1' + b"".join(b',"a%d":1' % i for i in range(1, 90_000)) + b"}")),
    }
    for index, put in enumerate(cases.values()):
        put(Path(shutil.copytree(GOLDEN, root / str(index))))
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (128 << 20), resource.RLIM_INFINITY))
    for index, expected in enumerate(cases):
        refused(root / str(index), expected)


if __name__ == "__main__":
    refuse_in_little_memory(Path(sys.argv[1]))
