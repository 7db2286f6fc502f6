"""Finds the names of a dataset's classes, and keeps them only if they name the labels that it yields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from condensed_data.core.text import storable_name
from condensed_data.data.sample import SourceError, check_label

MAX_LABEL = 1_000_000  # names of larger labels are not listed by label


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """Class names by label, or None if there are none or if they may name other labels.

    They come from `classes` (strings by label, or a mapping between both) or `class_to_idx`; of a subset, from the
    dataset below; of a concatenation, if all parts agree. They are dropped if `classes` and `class_to_idx` disagree, or
    if a `target_transform` changes labels. Repeated names get their label appended; very long ones are cut. SourceError
    is raised for a concatenation whose parts give one name to different labels.
    """
    found = _by_label(dataset)
    if not found or not 0 <= max(found) < MAX_LABEL:
        return None
    labels = range(max(found) + 1)
    return tuple(distinct([storable_name(found.get(label, str(label))) for label in labels], labels))


def confirmed(names: tuple[str, ...] | None, dataset: Any, labels: Tensor) -> tuple[str, ...] | None:
    """The names, or None if the dataset lists other labels in `targets` than those that were read (n,)."""
    if names is None:
        return None
    listed = _targets(dataset)
    if listed is None or len(listed) != len(labels):
        return names
    return names if np.array_equal(listed, labels.numpy()) else None


def distinct(names: Sequence[str], values: Sequence[int]) -> list[str]:
    """Class names without repetitions: repeated names get their label appended."""
    count = Counter(names)
    found: dict[str, int] = {}
    for name, value in zip(names, values, strict=True):
        while count[name] > 1 or name in found:
            name = f"{name} ({value})"
        found[name] = value
    return list(found)


def _by_label(dataset: Any) -> dict[int, str] | None:
    listed, indexed = _listed(getattr(dataset, "classes", None)), _inverted(getattr(dataset, "class_to_idx", None))
    if listed is None and indexed is None:
        if isinstance(dataset, Subset):
            return _by_label(dataset.dataset)
        if isinstance(dataset, ConcatDataset):
            first, *others = parts = [_by_label(part) for part in dataset.datasets]
            _check_one_label(parts)
            return first if all(other == first for other in others) else None
        return None
    if listed is not None and indexed is not None and any(listed.get(k) != name for k, name in indexed.items()):
        return None
    names = indexed if listed is None else listed
    transform = getattr(dataset, "target_transform", None)
    return names if transform is None or names is None or _keeps(transform, names) else None


def _check_one_label(parts: Sequence[dict[int, str] | None]) -> None:
    """Refuse parts of a concatenation that give one name to different labels: their classes would be mixed."""
    seen: dict[str, int] = {}
    for names in filter(None, parts):
        count = Counter(names.values())
        for label, name in names.items():
            if count[name] == 1 and seen.setdefault(name, label) != label:
                raise SourceError(
                    f"source is a concatenation whose parts disagree: {name!r} is label {seen[name]} in one and label "
                    f"{label} in another. Give the parts the same labels, for example with a target_transform=."
                )


def _targets(dataset: Any) -> Any:
    """(n,) integers that the dataset lists as its labels, also below subsets; None if it lists none."""
    # a property may open a file, which only workers may do
    listed = not isinstance(getattr(type(dataset), "targets", None), property)
    targets = getattr(dataset, "targets", None) if listed else None
    if isinstance(targets, list | tuple | np.ndarray | Tensor):
        values = np.asarray(targets)
        return values.ravel() if values.dtype.kind in "iu" and values.size == len(values) else None
    if isinstance(dataset, Subset):
        below = _targets(dataset.dataset)
        return None if below is None else below[np.asarray(dataset.indices, dtype=np.int64)]
    return None


def _listed(classes: Any) -> dict[int, str] | None:
    """Names by label from `classes`: strings or tuples of synonyms by label, or a mapping from or to labels."""
    if isinstance(classes, Mapping):
        texts = all(isinstance(key, str) for key in classes)
        return _inverted(classes) if texts else _inverted({name: label for label, name in classes.items()})
    if not isinstance(classes, list | tuple | np.ndarray) or len(classes) == 0:
        return None
    names = [", ".join(map(str, name)) if isinstance(name, list | tuple) else name for name in classes]
    return {i: str(name) for i, name in enumerate(names)} if all(isinstance(name, str) for name in names) else None


def _inverted(index: Any) -> dict[int, str] | None:
    """Names by label from a mapping of names to labels; the names of one label are joined."""
    if not isinstance(index, Mapping) or not index:
        return None
    names: dict[int, list[str]] = {}
    for name, label in index.items():
        if not isinstance(name, str) or not isinstance(label, int | np.integer) or label < 0:
            return None
        names.setdefault(int(label), []).append(name)
    return {label: ", ".join(several) for label, several in names.items()}


def _keeps(transform: Callable[[Any], Any], labels: Mapping[int, str]) -> bool:
    """Whether a transform of labels leaves all of these as they are."""
    try:
        return all(check_label(transform(label), 0) == label for label in labels)
    except Exception:
        return False
