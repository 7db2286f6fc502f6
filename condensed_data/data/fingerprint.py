"""Names for data: what a source holds, and a quick way to know that it still holds it.

The **fingerprint** is the sha256 of every sample and label in order; it takes one pass over the source, the same
pass that reads it. The **digest** is a memo's key: it covers what the dataset object holds in memory, the paths,
sizes and times of the files that it names, and a few hundred decoded samples. An object with a method
`content_key()` is taken for what that gives. A digest that was seen before stands for the fingerprint that was found
then; a dataset that holds something opaque (an open file, a socket) has none and is read whole every time.
"""

from __future__ import annotations

import enum
import hashlib
import io
import math
import os
import types
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condensed_data.data.value_space import SampleKind, ValueSpace

FINGERPRINT_VERSION = "condensed-data/fingerprint/1"
DECODED = 200  # samples that a digest decodes


def raw(tensor: Tensor) -> Any:
    """The bytes of a tensor, without a copy where it is contiguous on the CPU."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


class ContentHasher:
    """What one pass over the samples shows: their fingerprint, and their statistics by channel.

    Args:
        kind: of the samples.
        count: how many there are.
    """

    def __init__(self, kind: SampleKind, count: int) -> None:
        self.kind, self.count = kind, count
        self._hash = hashlib.sha256(repr((FINGERPRINT_VERSION, kind.name, kind.shape, count)).encode())
        self._total = torch.zeros(kind.shape[0], dtype=torch.float64)
        self._squares = torch.zeros(kind.shape[0], dtype=torch.float64)

    def update(self, samples: Tensor) -> None:
        """Add samples (B, *shape) uint8 or float32."""
        self._hash.update(raw(samples))
        for rows in samples.split(16):  # small pieces: large short-lived tensors fragment the heap
            values = rows.double().transpose(0, 1).flatten(1)
            self._total += values.sum(1)
            self._squares += values.square().sum(1)

    def fingerprint(self, labels: Tensor) -> str:
        """After all samples, with their labels (n,): 64 hexadecimal digits."""
        whole = self._hash.copy()
        whole.update(raw(labels))
        return whole.hexdigest()

    def space(self) -> ValueSpace:
        """The map that standardizes each channel of the source's value space."""
        scale = 255.0 if self.kind.is_pil else 1.0
        values = self.count * math.prod(self.kind.shape[1:])
        return ValueSpace.of(self._total / scale, self._squares / scale**2, values)


def digest_of(*values: Any) -> str | None:
    """A key for these values and everything that they hold, functions included; None where that is opaque."""
    walker = _Walker()
    try:
        for value in values:
            walker.visit(value)
    except (_OpaqueError, OSError, RecursionError):
        return None
    return walker.hash.hexdigest()


class _OpaqueError(Exception):
    """Something whose content cannot be seen."""


def digest(dataset: Any) -> str | None:
    """A key for what a dataset object holds, or None where it holds something opaque."""
    walker = _Walker()
    try:
        walker.visit(dataset)
        code = getattr(type(dataset).__getitem__, "__code__", None)
        walker.visit(code)
        for index in np.linspace(0, len(dataset) - 1, min(DECODED, len(dataset)), dtype=int).tolist():
            walker.visit(dataset[index])
    except (_OpaqueError, OSError, RecursionError):
        return None
    return walker.hash.hexdigest()


class _Walker:
    """Feeds a hash with everything reachable from an object."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256(FINGERPRINT_VERSION.encode())
        self.seen: dict[int, Any] = {}

    def visit(self, value: Any) -> None:
        self.say(type(value).__module__, type(value).__qualname__)
        if value is None or isinstance(
            value, bool | int | float | complex | bytes | enum.Enum | range | slice
        ):
            self.say(repr(value))
        elif isinstance(value, str | PurePath):
            self._text(str(value))
        elif isinstance(
            value, torch.dtype | torch.device | torch.Size | type | types.BuiltinFunctionType | np.dtype
        ):
            self.say(repr(value))
        elif isinstance(value, Tensor):
            self.say(str(value.dtype), str(tuple(value.shape)))
            self.hash.update(raw(value))
        elif isinstance(value, np.ndarray | np.generic):
            self._array(value)
        elif isinstance(value, Image.Image):
            self.say(value.mode, str(value.size))
            self.hash.update(value.tobytes())
        else:
            self._nested(value)

    def say(self, *words: str) -> None:
        for word in words:
            data = word.encode(errors="surrogatepass")
            self.hash.update(len(data).to_bytes(8, "big") + data)

    def _text(self, text: str) -> None:
        self.say(text)
        if len(text) < 4096 and os.path.isfile(text):
            stat = os.stat(text)
            self.say(str(stat.st_size), str(stat.st_mtime_ns))

    def _array(self, value: Any) -> None:
        if value.dtype.hasobject:
            raise _OpaqueError
        self.say(str(value.dtype), str(value.shape))
        if isinstance(value, np.memmap) and isinstance(value.filename, str | PurePath):
            self._text(str(value.filename))
        else:
            self.hash.update(np.ascontiguousarray(value).data.cast("B") if value.size else b"")

    def _nested(self, value: Any) -> None:
        if id(value) in self.seen:
            self.say("seen")
            return
        self.seen[id(value)] = value  # keeps it alive, so that its id stays its own
        if isinstance(value, list | tuple):
            self.say(str(len(value)))
            for item in value:
                self.visit(item)
        elif isinstance(value, dict):
            self.say(str(len(value)))
            for key, item in value.items():
                self.visit(key)
                self.visit(item)
        elif isinstance(value, set | frozenset):
            self.say(*sorted(map(repr, value)))
        else:
            self._object(value)

    def _object(self, value: Any) -> None:
        if isinstance(value, types.CodeType):
            self.say(value.co_code.hex(), repr(value.co_names))
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
