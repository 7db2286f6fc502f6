"""Writes tensors as safetensors, and reads them back without trusting the file.

The reader is our own because the library's accepts what an artifact must not contain: repeated names (the last
one wins), headers of 100 MB, any name and any type. It reads one tensor after the other from the open, checked file,
directly into the memory of that tensor.

Dimension letters: N synthetic samples, K classes.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeGuard

import safetensors.torch
import torch
from torch import Tensor

from condensed_data.core.errors import ArtifactError, short_repr
from condensed_data.core.tensor_hash import CODES, DTYPES, raw_bytes
from condensed_data.storage import strict_json

_NAME = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_MAX_HEADER = 1 << 20
_MAX_DIMENSIONS = 8
_MAX_LENGTH = 1 << 40
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Entry:
    name: str
    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


def serialize(tensors: Mapping[str, Tensor], format_version: str) -> bytes:
    """Encode a safetensors file; the same tensors give the same bytes.

    The file has exactly one metadata key, because the library writes several keys in an order that varies between
    processes.
    """
    own = {name: tensor.clone() for name, tensor in tensors.items()}  # the library refuses tensors that share memory
    metadata = {"condensed_data": strict_json.compact({"format_version": format_version}).decode()}
    return safetensors.torch.save(own, metadata=metadata)


def read(file: BinaryIO, size: int, where: str) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file of `size` bytes, using that much memory plus a small header.

    Raises:
        ArtifactError: unless the header has at most 1 MiB, its names and types are allowed, and the tensors
            exactly cover the rest of the file.
    """
    tensors = {}
    for entry in _entries(file, size, where):
        tensor = torch.empty(entry.shape, dtype=DTYPES[entry.code])
        if file.readinto(raw_bytes(tensor)) != entry.end - entry.begin:  # type: ignore[attr-defined]
            raise ArtifactError.mismatch(where, f"an end within tensor {entry.name!r}", f"{size} bytes")
        tensors[entry.name] = tensor
    return tensors


def check(tensors: Mapping[str, Tensor], manifest: Mapping[str, Any], where: str) -> None:
    """Check `tensors` against a manifest whose fields have been checked.

    Raises:
        ArtifactError: for a name or type that is not allowed, an empty tensor, non-finite numbers, a missing tensor,
            or shapes and labels that contradict the manifest.
    """
    for name, tensor in tensors.items():
        _check_kind(name, CODES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape), where)
        if not all(bool(chunk.isfinite().all()) for chunk in tensor.reshape(-1).split(_CHUNK)):
            raise ArtifactError.mismatch(where, f"NaN or infinity in {name!r}", "finite numbers")
    labels, classes = _required(tensors, "labels", where), manifest["num_classes"]
    _check_labels(labels, manifest["label"]["kind"], classes, where)
    encoded = manifest["encoding"]["part"] != "Pixels"
    if manifest["label"]["kind"] != "index" and encoded:
        _required(tensors, "hard_labels", where)
    if "hard_labels" in tensors:
        hard = tensors["hard_labels"]
        _check_indices(hard, "hard_labels", classes, where)
        _expect(len(hard) == len(labels), hard, "one per label", "hard_labels", where)
    if not encoded:
        images, shape = _required(tensors, "images", where), (len(labels), *manifest["shape"])
        valid = images.shape == shape and images.dtype != torch.int64
        _expect(valid, images, f"{shape}, one sample per label, of uint8 or a float type", "images", where)
    if manifest["value_space"].get("whitening") == "zca":
        values = math.prod(manifest["shape"])
        for name, form in (("mean", (values,)), ("vectors", (values, values)), ("scales", (values,))):
            tensor = _required(tensors, f"zca.{name}", where)
            valid = tensor.shape == form and tensor.dtype == torch.float32
            _expect(valid, tensor, f"{form} of float32", f"zca.{name}", where)
        _expect(bool((tensors["zca.scales"] > 0).all()), tensors["zca.scales"], "positive", "zca.scales", where)


def _check_labels(labels: Tensor, kind: str, num_classes: int, where: str) -> None:
    if kind != "index":
        shaped = labels.ndim == 2 and labels.shape[1] == num_classes and labels.is_floating_point()
        _expect(shaped, labels, f"(N, {num_classes}) of a float type", "labels", where)
        if kind == "probs":
            _expect(bool((labels >= 0).all()), labels, "probabilities of at least 0", "labels", where)
    else:
        _check_indices(labels, "labels", num_classes, where)


def _check_indices(labels: Tensor, name: str, num_classes: int, where: str) -> None:
    _expect(labels.ndim == 1 and labels.dtype == torch.int64, labels, "(N,) of int64", name, where)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ArtifactError.mismatch(where, f"{name} from {low} to {high}", f"{name} from 0 to {num_classes - 1}")


def _expect(valid: bool, tensor: Tensor, expected: str, name: str, where: str) -> None:
    if not valid:
        found = f"{name!r} of shape {tuple(tensor.shape)} and type {tensor.dtype}"
        raise ArtifactError.mismatch(where, found, expected)


def _required(tensors: Mapping[str, Tensor], name: str, where: str) -> Tensor:
    if name not in tensors:
        raise ArtifactError.mismatch(where, f"the tensors {short_repr(sorted(tensors))}", f"a tensor named {name!r}")
    return tensors[name]


def _entries(file: BinaryIO, size: int, where: str) -> list[_Entry]:
    """The header's entries in file order, checked to be adjacent without gaps or overlaps."""
    length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else size
    if length > min(_MAX_HEADER, size - 8):
        limit = f"at most {_MAX_HEADER} within a file of {size}"
        raise ArtifactError.mismatch(where, f"a header of {length} bytes", limit)
    header = strict_json.loads(file.read(length), where)
    header.pop("__metadata__", None)
    entries = [_entry(name, value, where) for name, value in header.items()]
    entries.sort(key=lambda entry: entry.begin)
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise ArtifactError.mismatch(where, f"{entry.name!r} at byte {entry.begin}", f"at byte {position}")
        position = entry.end
    if position != size - 8 - length:
        raise ArtifactError.mismatch(where, f"{size - 8 - length} bytes of data", f"{position}, as in the header")
    return entries


def _entry(name: str, value: Any, where: str) -> _Entry:
    fields = value if isinstance(value, dict) else {}
    code, shape, extent = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if len(fields) != 3 or not (isinstance(code, str) and _integers(shape) and _integers(extent, 2)):
        expected = "its dtype, shape and two data_offsets"
        raise ArtifactError.mismatch(where, f"{short_repr(value)} for tensor {short_repr(name)}", expected)
    entry = _Entry(name, code, tuple(shape), extent[0], extent[1])
    _check_kind(name, code, entry.shape, where)
    size = math.prod(entry.shape) * DTYPES[code].itemsize
    if entry.end - entry.begin != size:
        found = f"{entry.end - entry.begin} bytes for {name!r}"
        raise ArtifactError.mismatch(where, found, f"{size} for {code} of shape {entry.shape}")
    return entry


def _check_kind(name: str, code: str, shape: tuple[int, ...], where: str) -> None:
    if not _NAME.fullmatch(name):
        raise ArtifactError.mismatch(
            where, f"a tensor named {short_repr(name)}", f"a name that matches {_NAME.pattern}"
        )
    if code not in DTYPES:
        raise ArtifactError.mismatch(where, f"{name!r} of type {short_repr(code)}", f"one of {', '.join(DTYPES)}")
    if len(shape) > _MAX_DIMENSIONS or not all(0 < length <= _MAX_LENGTH for length in shape):
        expected = f"at most {_MAX_DIMENSIONS} dimensions of at least 1"
        raise ArtifactError.mismatch(where, f"{name!r} of shape {short_repr(shape)}", expected)


def _integers(value: Any, length: int | None = None) -> TypeGuard[list[int]]:
    valid = isinstance(value, list) and all(type(item) is int for item in value)
    return valid and length in (None, len(value))
