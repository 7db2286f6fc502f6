"""Identify a dataset by its content: the fingerprint, and a digest that recalls it where every byte is covered.

* The fingerprint is the SHA-256 of all samples and labels in order, computed in the pass that reads the source.
* The digest is the key of a memo: two datasets of one digest have one fingerprint. It exists only for datasets whose
  reading is known, see `_READS`: arrays are hashed whole; of every file that is named, the path, size, times and inode
  are taken. Anything else (an own class or function, a file that was changed just now, rows that lie elsewhere) has no
  digest, and its samples are read and hashed every time.
"""

from __future__ import annotations

import enum
import hashlib
import importlib.metadata
import math
import os
import stat
import sys
import time
import types
from collections import OrderedDict
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from condensed_data.core.tensor_hash import raw_bytes
from condensed_data.data.value_space import SampleKind, ValueSpace

FINGERPRINT_VERSION = "condensed-data/fingerprint/1"
# A file that changed this recently may change again without another time, as times have a resolution.
YOUNG_SECONDS = 2.0

# Classes that read nothing but their attributes and the files that these name.
_READS = {
    "torch.utils.data.dataset": ("TensorDataset", "Subset", "ConcatDataset"),
    "torch.nn.modules.container": ("Sequential",),
    "condensed_data.data.bit_depth": ("ImageLoader",),
    "condensed_data.data.catalog": ("Digits",),
    "torchvision.datasets.cifar": ("CIFAR10", "CIFAR100"),
    "torchvision.datasets.dtd": ("DTD",),
    "torchvision.datasets.fgvc_aircraft": ("FGVCAircraft",),
    "torchvision.datasets.flowers102": ("Flowers102",),
    "torchvision.datasets.folder": ("DatasetFolder", "ImageFolder"),
    "torchvision.datasets.food101": ("Food101",),
    "torchvision.datasets.gtsrb": ("GTSRB",),
    "torchvision.datasets.imagenet": ("ImageNet",),
    "torchvision.datasets.mnist": ("EMNIST", "FashionMNIST", "KMNIST", "MNIST", "QMNIST"),
    "torchvision.datasets.oxford_iiit_pet": ("OxfordIIITPet",),
    "torchvision.datasets.stl10": ("STL10",),
    "torchvision.datasets.svhn": ("SVHN",),
    "torchvision.datasets.usps": ("USPS",),
    "torchvision.datasets.vision": ("StandardTransform",),
}
_TRANSFORMS = "torchvision.transforms."  # all of its classes, unless they hold a function
_DESCRIBES_ITSELF = {"condensed_data.data.hf_datasets": ("HubDataset",)}  # by `content_key()`
_DECODERS = ("torch", "torchvision", "numpy", "pillow")  # distributions whose versions decide what a sample is
_PLAIN = (bool, int, float, complex, bytes, range, slice, torch.dtype, torch.device, torch.Size, type(None))


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


class _UncoveredError(Exception):
    """Raised for an object that could yield something else without a trace."""


def dataset_digest(dataset: Any, *described: Any) -> str | None:
    """A digest that covers every byte that a dataset yields, and plain values; None if it cannot be proven."""
    hasher = _Hasher()
    try:
        hasher.visit([FINGERPRINT_VERSION, *map(importlib.metadata.version, _DECODERS), *described])
        hasher.visit(dataset)
    except (_UncoveredError, OSError, RecursionError, RuntimeError, ValueError):
        return None
    return hasher.hash.hexdigest()


class _Hasher:
    """Feeds a hash with everything that an object is made of, and refuses what it does not know."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.lists: dict[int, Any] = {}  # seen before; holding them keeps their ids

    def visit(self, value: Any) -> None:
        kind = type(value)
        self._update(kind.__module__, kind.__qualname__)
        if kind in _PLAIN or isinstance(value, enum.Enum | np.dtype):
            self._update(repr(value))
        elif kind is str or isinstance(value, PurePath):
            self._text(os.fspath(value))
        elif kind in (Tensor, nn.Parameter):
            self._update(str(value.dtype), str(tuple(value.shape)))
            self.hash.update(raw_bytes(value))
        elif kind in (np.ndarray, np.memmap) or isinstance(value, np.generic):
            self._array(np.ascontiguousarray(value))
        elif kind in (list, tuple, dict, OrderedDict, set, frozenset):
            self._items(value)
        elif kind in (types.FunctionType, types.BuiltinFunctionType, type):
            self._function(value)
        elif _is_original(kind) and kind.__qualname__ in _DESCRIBES_ITSELF.get(kind.__module__, ()):
            key = value.content_key()
            if key is None:
                raise _UncoveredError
            self.visit(key)
        elif _is_original(kind) and _reads_attributes(kind):
            self.visit(vars(value))
        else:
            raise _UncoveredError

    def _update(self, *words: str) -> None:
        for word in words:
            data = word.encode(errors="surrogatepass")
            self.hash.update(len(data).to_bytes(8, "big") + data)

    def _text(self, text: str) -> None:
        self._update(text)
        try:
            found = os.stat(text)
        except (OSError, ValueError):  # not a path
            return
        if stat.S_ISREG(found.st_mode):
            if found.st_ctime > time.time() - YOUNG_SECONDS:
                raise _UncoveredError
            numbers = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
            self._update(os.path.abspath(text), repr(numbers))

    def _array(self, array: Any) -> None:
        if array.dtype.hasobject:
            raise _UncoveredError
        self._update(repr(array.dtype), str(array.shape))
        self.hash.update(array.reshape(-1).view(np.uint8).data)

    def _items(self, value: Any) -> None:
        if id(value) in self.lists:
            self._update(str(list(self.lists).index(id(value))))
            return
        if not isinstance(value, tuple):  # of which a folder has one per image
            self.lists[id(value)] = value
        self._update(str(len(value)))
        if isinstance(value, set | frozenset):
            value = sorted(value, key=repr)
        for item in value:
            self.visit(item)
            if isinstance(value, dict):
                self.visit(value[item])

    def _function(self, value: Any) -> None:
        """A function or class of Python or torchvision, or a method of a container such as `names.index`."""
        self._update(str(value.__module__), value.__qualname__)
        owner = getattr(value, "__self__", None)
        if isinstance(owner, list | tuple | dict):
            self.visit(owner)
        elif not (_is_original(value) and value.__module__.partition(".")[0] in ("builtins", "torchvision")):
            raise _UncoveredError


def _reads_attributes(kind: type) -> bool:
    return kind.__qualname__ in _READS.get(kind.__module__, ()) or kind.__module__.startswith(_TRANSFORMS)


def _is_original(value: Any) -> bool:
    """Whether a class or function is the one that its name says; `functools.wraps` gives others the same name."""
    return getattr(sys.modules.get(value.__module__), value.__qualname__, None) is value
