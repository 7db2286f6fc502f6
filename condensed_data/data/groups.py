"""Groups: an attribute of every real sample that is carried to the synthetic side; a group is (class, attribute).

Letters: n real samples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset
from tqdm.auto import tqdm

from condensed_data.data.fingerprint import DECODED, digest_of
from condensed_data.data.sample import SourceError, fetch
from condensed_data.data.source import BATCH, Source

Value = int | str
_ONE_EACH = "Give one integer or string for every sample"


class Groups:
    """The attribute of every sample, in whichever way it was given.

    Args:
        given: (n,) integers or strings as a list, array, tensor or column; the name of an attribute of the dataset
            that holds them, also of the dataset below subsets and concatenations; or a function
            (sample, label) -> integer or string, which gets what the dataset yields without random transforms.
        source: whose samples they are.

    Raises:
        SourceError: for values of another number or kind, an attribute that does not exist, or a function that
            fails on the first sample.
    """

    def __init__(self, given: Any, source: Source) -> None:
        self.source = source
        self.ask: Callable[[Any, Any], Any] | None = None
        self._values: list[Value] | None = None
        if isinstance(given, str):
            self._values = listed(
                _named(source.dataset, given), len(source), f"groups={given!r}: source.{given}"
            )
        elif callable(given):
            self.ask = given
            _answer(given, source.dataset, 0)
        else:
            self._values = listed(given, len(source))

    def values(self, num_workers: int = 0, progress: bool = False) -> list[Value]:
        """The attribute of every sample; a function is asked once, in as many processes.

        Raises:
            SourceError: naming the sample that the function fails on.
        """
        if self._values is None:
            self._values = listed(self._asked(num_workers, progress), len(self.source))
        return self._values

    def memo(self, noted: str) -> str | None:
        """A key for what a function says about the dataset with this digest; None where that cannot be told.

        It covers the function's code and what it holds, and its answers on a few hundred samples.
        """
        dataset, count = self.source.dataset, len(self.source)
        some = np.linspace(0, count - 1, min(DECODED, count), dtype=int).tolist()
        answers = [_answer(self.ask, dataset, index) for index in some]
        return digest_of("groups", noted, self.ask, answers)

    def digest(self, num_workers: int = 0, progress: bool = False) -> str:
        """The sha256 of all values, 64 hexadecimal digits."""
        text = repr(self.values(num_workers, progress))
        return hashlib.sha256(json.dumps(["text", text]).encode()).hexdigest()

    def _asked(self, num_workers: int, progress: bool) -> list[Value]:
        found: list[Value] = []
        loader: DataLoader[Any] = DataLoader(
            _Answers(self.ask, self.source.dataset, len(self.source)),
            batch_size=BATCH,
            num_workers=num_workers,
            collate_fn=list,
            generator=torch.Generator(),  # without one, a loader draws from the global generator
        )
        title = f"grouping {self.source.name}"
        with tqdm(total=len(self.source), desc=title, unit=" samples", disable=not progress) as bar:
            for batch in loader:
                for answer in batch:
                    if isinstance(answer, SourceError):
                        raise answer
                    found.append(answer)
                bar.update(len(batch))
        return found


class _Answers(Dataset[Any]):
    """What a function says about every sample; errors are returned, because raised in a worker they are wrapped."""

    def __init__(self, ask: Any, dataset: Any, count: int) -> None:
        self.ask, self.dataset, self.count = ask, dataset, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Value | SourceError:
        try:
            return _answer(self.ask, self.dataset, index)
        except SourceError as error:
            return SourceError(*error.args)  # without its cause, which may not travel between processes


def _answer(ask: Any, dataset: Any, index: int) -> Value:
    sample, label = fetch(dataset, index)
    try:
        answer = ask(sample, label)
    except Exception as error:
        raise SourceError(
            f"groups failed on source[{index}]: {type(error).__name__}: {error}. A function is called as "
            "groups(sample, label) and returns an integer or a string."
        ) from error
    answer = answer.item() if getattr(answer, "ndim", None) == 0 else answer
    if not isinstance(answer, int | str):
        raise SourceError(
            f"groups returned {answer!r} for source[{index}]; supported: integers or strings, such as a number of "
            "a bin."
        )
    return str(answer) if isinstance(answer, str) else int(answer)


def listed(values: Any, count: int, name: str = "groups") -> list[Value]:
    """One plain integer or string for every sample.

    Args:
        values: any sequence, array, tensor or column.
        count: n.
        name: of the values in errors.

    Raises:
        SourceError: for another number of values, or other kinds of them.
    """
    if isinstance(values, str | Mapping) or not (hasattr(values, "tolist") or hasattr(values, "__iter__")):
        raise SourceError(f"{name} is a {type(values).__name__}. {_ONE_EACH}.")
    plain = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(plain, list):  # an array without dimensions
        raise SourceError(f"{name} is the single value {plain!r}. {_ONE_EACH}.")
    plain = [value.item() if getattr(value, "ndim", None) == 0 else value for value in plain]
    if len(plain) != count:
        raise SourceError(f"{name} has {len(plain)} entries, the source {count} samples. Give one a sample.")
    kind = str if isinstance(plain[0], str) else int
    for index, value in enumerate(plain):
        if not isinstance(value, kind):
            raise SourceError(
                f"{name} holds {value!r}; supported: integers or strings, not mixed, here for source[{index}]. Cut "
                "numbers into bins, join several attributes to one string."
            )
    return [kind(value) for value in plain]


def _named(dataset: Any, name: str) -> Any:
    """What the dataset holds under this name; through subsets and concatenations where they do not hold it."""
    if hasattr(dataset, name):
        found = getattr(dataset, name)
        if callable(found):
            raise SourceError(
                f"groups={name!r}: source.{name} is a {type(found).__name__}, not a value for every sample. Pass a "
                "function (sample, label) itself, not its name."
            )
        return found
    if isinstance(dataset, Subset):
        inner = _below(dataset.dataset, name)
        return [inner[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [value for part in dataset.datasets for value in _below(part, name)]
    raise SourceError(
        f"groups={name!r}: {type(dataset).__name__} has no attribute of that name. {_known(dataset)}, or pass the "
        "values themselves."
    )


def _below(dataset: Any, name: str) -> list[Value]:
    """The attribute of a dataset that another one is made of."""
    return listed(_named(dataset, name), len(dataset), f"groups={name!r}: {type(dataset).__name__}.{name}")


def _known(dataset: Any) -> str:
    """The names that could have been meant."""
    held = {name: value for name, value in getattr(dataset, "__dict__", {}).items() if name[0] != "_"}
    fit = [name for name, value in held.items() if _fits(value, len(dataset))]
    return f"It holds a value for every sample in {', '.join(map(repr, fit))}" if fit else _ONE_EACH


def _fits(value: Any, count: int) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray | torch.Tensor):
        return False
    return getattr(value, "ndim", 1) == 1 and len(value) == count and isinstance(_plain(value[0]), int | str)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
