"""Identify a dataset by its content: a full fingerprint, and a quick digest that recalls it.

* The fingerprint is the SHA-256 of all samples and labels in order, computed in the pass that reads the source.
* The digest is a cache key for a known fingerprint. It covers what the dataset object holds in memory, the path, size
  and modification time of the files that it names, and up to `DIGEST_SAMPLES` decoded samples. An object with a
  `content_key()` method is represented by what that method returns. A dataset that holds something opaque (an open
  file, a socket) has no digest and is read in full every time.
"""

from __future__ import annotations

import enum
import hashlib
import io
import math
import os
import types
from collections.abc import Iterable
from itertools import chain
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condensed_data.core.tensor_hash import raw_bytes
from condensed_data.data.value_space import SampleKind, ValueSpace

FINGERPRINT_VERSION = "condensed-data/fingerprint/1"
DIGEST_SAMPLES = 200  # decoded for a digest


class ContentHasher:
    """Computes the fingerprint and per-channel statistics of `count` samples in one pass."""

    def __init__(self, kind: SampleKind, count: int) -> None:
        self.kind, self.count = kind, count
        self._hash = hashlib.sha256(repr((FINGERPRINT_VERSION, kind.name, kind.shape, count)).encode())
        self._total = torch.zeros(kind.shape[0], dtype=torch.float64)
        self._squares = torch.zeros(kind.shape[0], dtype=torch.float64)

    def update(self, samples: Tensor) -> None:
        """Add samples (B, *shape) uint8 or float32."""
        self._hash.update(raw_bytes(samples))
        for rows in samples.split(16):  # small chunks: large short-lived tensors fragment the heap
            values = rows.double().transpose(0, 1).flatten(1)
            self._total += values.sum(1)
            self._squares += values.square().sum(1)

    def fingerprint(self, labels: Tensor) -> str:
        """The fingerprint of all samples and their labels (n,), as 64 hexadecimal digits."""
        whole = self._hash.copy()
        whole.update(raw_bytes(labels))
        return whole.hexdigest()

    def space(self) -> ValueSpace:
        """The value space that standardizes each channel."""
        scale = 255.0 if self.kind.is_pil else 1.0
        values = self.count * math.prod(self.kind.shape[1:])
        return ValueSpace.from_sums(self._total / scale, self._squares / scale**2, values)


class _OpaqueError(Exception):
    """Raised for an object whose content cannot be inspected."""


def object_digest(values: Iterable[Any]) -> str | None:
    """Hash these values and everything that they hold, functions included; None if any of it is opaque."""
    hasher = _ObjectHasher()
    try:
        for value in values:
            hasher.visit(value)
    except (_OpaqueError, OSError, RecursionError):
        return None
    return hasher.hash.hexdigest()


def dataset_digest(dataset: Any) -> str | None:
    """Hash what a dataset object holds and evenly spaced samples of it; None if it holds something opaque."""
    code = getattr(type(dataset).__getitem__, "__code__", None)
    samples = (dataset[index] for index in spaced_indices(len(dataset)))
    return object_digest(chain((dataset, code), samples))


def spaced_indices(count: int) -> list[int]:
    """At most `DIGEST_SAMPLES` evenly spaced indices below `count`."""
    return np.linspace(0, count - 1, min(DIGEST_SAMPLES, count), dtype=int).tolist()


class _ObjectHasher:
    """Feeds a hash with everything reachable from an object."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256(FINGERPRINT_VERSION.encode())
        self.seen: dict[int, Any] = {}

    def visit(self, value: Any) -> None:
        self._update(type(value).__module__, type(value).__qualname__)
        if value is None or isinstance(value, bool | int | float | complex | bytes | enum.Enum | range | slice):
            self._update(repr(value))
        elif isinstance(value, str | PurePath):
            self._text(str(value))
        elif isinstance(value, torch.dtype | torch.device | torch.Size | type | types.BuiltinFunctionType | np.dtype):
            self._update(repr(value))
        elif isinstance(value, Tensor):
            self._update(str(value.dtype), str(tuple(value.shape)))
            self.hash.update(raw_bytes(value))
        elif isinstance(value, np.ndarray | np.generic):
            self._array(value)
        elif isinstance(value, Image.Image):
            self._update(value.mode, str(value.size))
            self.hash.update(value.tobytes())
        else:
            self._nested(value)

    def _update(self, *words: str) -> None:
        for word in words:
            data = word.encode(errors="surrogatepass")
            self.hash.update(len(data).to_bytes(8, "big") + data)

    def _text(self, text: str) -> None:
        self._update(text)
        if len(text) < 4096 and os.path.isfile(text):
            stat = os.stat(text)
            self._update(str(stat.st_size), str(stat.st_mtime_ns))

    def _array(self, value: Any) -> None:
        if value.dtype.hasobject:
            raise _OpaqueError
        self._update(str(value.dtype), str(value.shape))
        if isinstance(value, np.memmap) and isinstance(value.filename, str | PurePath):
            self._text(str(value.filename))
        else:
            self.hash.update(np.ascontiguousarray(value).data.cast("B") if value.size else b"")

    def _nested(self, value: Any) -> None:
        if id(value) in self.seen:
            self._update("seen")
            return
        self.seen[id(value)] = value  # keeps it alive, so that its id is not reused
        if isinstance(value, list | tuple):
            self._update(str(len(value)))
            for item in value:
                self.visit(item)
        elif isinstance(value, dict):
            self._update(str(len(value)))
            for key, item in value.items():
                self.visit(key)
                self.visit(item)
        elif isinstance(value, set | frozenset):
            self._update(*sorted(map(repr, value)))
        else:
            self._object(value)

    def _object(self, value: Any) -> None:
        if isinstance(value, types.CodeType):
            self._update(value.co_code.hex(), repr(value.co_names))
            self.visit([constant for constant in value.co_consts if not isinstance(constant, str)])
        elif isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            self.visit([value.__qualname__, value.__code__, value.__defaults__, cells])
        elif isinstance(value, types.MethodType):
            self.visit([value.__func__, value.__self__])
        elif isinstance(value, torch.Generator):
            self.visit(value.get_state())
        elif hasattr(value, "content_key"):
            self.visit(value.content_key())
        elif hasattr(value, "__dict__") and not isinstance(value, types.ModuleType | io.IOBase):
            self.visit(dict(sorted(vars(value).items())))
        else:
            raise _OpaqueError
