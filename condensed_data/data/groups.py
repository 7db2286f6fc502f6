"""Groups: an attribute of every real sample that the condensed dataset keeps; a group is a (class, attribute) pair.

Letters: n real samples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Subset

from condensed_data.data.batched_reads import call_in_worker, read_batches
from condensed_data.data.sample import SourceError, fetch
from condensed_data.data.source import Source

Value = int | str
_ONE_EACH = "Give one integer or string per sample"
_CHANGED = (
    "The groups function returned two different values for source[{index}]. Remove what is random in the function or "
    "in the source."
)


class Groups:
    """The attribute of every sample, however the user specified it.

    Args:
        given: (n,) integers or strings as a list, array, tensor or column; the name of an attribute of the dataset
            that holds them, which is also searched for below subsets and concatenations; or a function
            (sample, label) -> integer or string, called with what the dataset yields without random transforms.
        source: the source of the samples.

    Raises:
        SourceError: if there is not one value per sample, if a value is of another type, if the attribute does not
            exist; `values` also raises it, if the function fails on a sample or returns another value in a second call.
    """

    def __init__(self, given: Any, source: Source) -> None:
        self.source = source
        self.function: Callable[[Any, Any], Any] | None = None
        self._values: list[Value] | None = None
        if isinstance(given, str):
            # where the source is read, because an attribute may open a file, too
            self._values = call_in_worker(partial(_attribute_values, source.dataset, given), source.num_workers)
        elif callable(given):
            self.function = given
        else:
            self._values = plain_values(given, len(source))

    def values(self, progress: bool = False) -> list[Value]:
        """The attribute of every sample. A function is called where the source is read.

        If it fails, SourceError names the sample.
        """
        if self._values is None:
            values: list[Value] = []
            read_batches(
                partial(_call, self.function, self.source.dataset),
                range(len(self.source)),
                list,
                values.extend,
                changed=_CHANGED,
                title=f"grouping {self.source.name}",
                num_workers=self.source.num_workers,
                progress=progress,
            )
            self._values = plain_values(values, len(self.source))
        return self._values

    def digest(self, progress: bool = False) -> str:
        """The SHA-256 of all values, as 64 hexadecimal digits."""
        text = repr(self.values(progress))
        return hashlib.sha256(json.dumps(["text", text]).encode()).hexdigest()


def _call(function: Any, dataset: Any, index: int) -> Value:
    sample, label = fetch(dataset, index)
    try:
        value = function(sample, label)
    except Exception as error:
        raise SourceError(
            f"The groups function failed on source[{index}]: {type(error).__name__}: {error}. It is called as "
            "groups(sample, label) and must return an integer or a string."
        ) from error
    value = _unpack(value)
    if not isinstance(value, int | str):
        raise SourceError(
            f"The groups function returned {value!r} for source[{index}]; it must return an integer or a string. "
            "Bin real numbers."
        )
    return str(value) if isinstance(value, str) else int(value)


def plain_values(values: Any, count: int, name: str = "groups") -> list[Value]:
    """Convert values, any sequence, array, tensor or column, to plain integers or plain strings, one per sample.

    For another number of values than `count`, or values of another or mixed types, SourceError names them by `name`.
    """
    if isinstance(values, str | Mapping) or not (hasattr(values, "tolist") or hasattr(values, "__iter__")):
        raise SourceError(f"{name} is a {type(values).__name__}. {_ONE_EACH}.")
    plain = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(plain, list):  # an array without dimensions
        raise SourceError(f"{name} is the single value {plain!r}. {_ONE_EACH}.")
    plain = [_unpack(value) for value in plain]
    if len(plain) != count:
        raise SourceError(f"{name} has {len(plain)} entries, but the source has {count} samples. {_ONE_EACH}.")
    value_type = str if isinstance(plain[0], str) else int
    for index, value in enumerate(plain):
        if not isinstance(value, value_type):
            raise SourceError(
                f"{name} contains {value!r} for source[{index}]; supported: all integers or all strings, not mixed. "
                "Bin real numbers, and join several attributes into one string."
            )
    return [value_type(value) for value in plain]


def _unpack(value: Any) -> Any:
    """The Python number in a 0-d array or tensor; any other value as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _attribute_values(dataset: Any, name: str) -> list[Value]:
    return plain_values(_attribute(dataset, name), len(dataset), f"groups={name!r}: source.{name}")


def _attribute(dataset: Any, name: str) -> Any:
    """The attribute `name` of a dataset, or of the datasets that a subset or a concatenation is made of."""
    if hasattr(dataset, name):
        found = getattr(dataset, name)
        if callable(found):
            raise SourceError(
                f"groups={name!r}: source.{name} is a {type(found).__name__}, not one value per sample. Pass a "
                "function (sample, label) itself, not its name."
            )
        return found
    if isinstance(dataset, Subset):
        inner = _inner_attribute(dataset.dataset, name)
        return [inner[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [value for part in dataset.datasets for value in _inner_attribute(part, name)]
    raise SourceError(
        f"groups={name!r}: {type(dataset).__name__} has no attribute of that name. {_suggestion(dataset)}, or pass "
        "the values themselves."
    )


def _inner_attribute(dataset: Any, name: str) -> list[Value]:
    return plain_values(_attribute(dataset, name), len(dataset), f"groups={name!r}: {type(dataset).__name__}.{name}")


def _suggestion(dataset: Any) -> str:
    """Names the attributes that could have been meant."""
    public = {name: value for name, value in getattr(dataset, "__dict__", {}).items() if name[0] != "_"}
    names = [name for name, value in public.items() if _is_per_sample(value, len(dataset))]
    return f"Attributes with one value per sample: {', '.join(map(repr, names))}" if names else _ONE_EACH


def _is_per_sample(value: Any, count: int) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray | torch.Tensor):
        return False
    return getattr(value, "ndim", 1) == 1 and len(value) == count and isinstance(_unpack(value[0]), int | str)
