"""Merges the results of a job array's shards into one.

Letters: N samples, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.errors import shortened_list
from condensed_data.core.torch_settings import own_settings
from condensed_data.methods.base import SyntheticSpec
from condensed_data.storage.metadata import Metadata
from condensed_data.storage.result import CondensationResult, with_storage_size

# fields that the shards of one build have in common
_SAME = (
    *("fingerprint", "source_samples", "recipe", "seed", "iterations", "classes", "class_values", "kind"),
    *("encoding", "whitening", "label_kind", "training"),
)


@own_settings()
def merge(parts: Sequence[CondensationResult]) -> CondensationResult:
    """The result of all shards together: the bits of one process that computes in blocks (`Recipe.num_blocks`).

    Shards may come from machines of several kinds; `environment` names all of them.

    Raises:
        ValueError: if there are no shards, or if they are of different builds, overlap, or leave classes out.
    """
    if not parts:
        raise ValueError("merge([]) has no shards. Give all shards of one build.")
    first = parts[0]
    for number, other in enumerate(parts[1:], start=2):
        _check_same(first.metadata, other.metadata, number)
    labels = [_classes_of(part) for part in parts]
    _check_complete(first.metadata.classes, [set(rows.tolist()) for rows in labels])
    classes = torch.cat(labels)
    order = classes.argsort(stable=True)
    stored = None
    if first.stored is not None:
        kept = [part.stored or {} for part in parts]
        stored = {name: _joined([tensors[name] for tensors in kept], labels) for name in first.stored}
    metadata = replace(
        first.metadata,
        key=None,
        seconds=sum(part.metadata.seconds or 0.0 for part in parts),
        history=_summed([part.metadata.history for part in parts]),
        evaluations=(),
        baselines=(),
        environment=_joined_environment([part.metadata.environment for part in parts]),
    )
    whole = replace(
        first,
        images=torch.cat([part.images for part in parts])[order],
        labels=torch.cat([part.labels for part in parts])[order],
        stored=stored,
        hard_labels=None if first.hard_labels is None else classes[order],
        metadata=metadata,
    )
    return with_storage_size(whole, count_floats(whole))


def count_floats(result: CondensationResult) -> int:
    """Numbers that are kept to decode the samples."""
    if result.stored is None:
        return result.images.numel()
    encoding: SyntheticSpec = specs.from_json(dict(result.metadata.encoding))
    return encoding.restore(result.stored, _classes_of(result), result.metadata.kind.shape).stored_floats


def _classes_of(result: CondensationResult) -> Tensor:
    """The class that each sample was made for, (N,); a teacher may have labeled it otherwise."""
    return result.class_indices if result.hard_labels is None else result.hard_labels


def _check_complete(names: Sequence[str], made: Sequence[set[int]]) -> None:
    for number, some in enumerate(made):
        for other in range(number):
            if twice := some & made[other]:
                raise ValueError(
                    f"Shards {other + 1} and {number + 1} both have class {names[min(twice)]!r}. Merge each shard once."
                )
    missing = sorted(set(range(len(names))).difference(*made))
    if missing:
        listed = shortened_list([names[label] for label in missing], 5)
        raise ValueError(f"{len(missing)} classes are missing ({listed}). Merge all shards.")


def _joined(tensors: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
    """The rows of all shards in the order of their classes; a tensor that is the same in all of them, once."""
    if all(tensor.shape == tensors[0].shape and torch.equal(tensor, tensors[0]) for tensor in tensors):
        return tensors[0]
    classes = [rows[:: len(rows) // len(tensor)] for rows, tensor in zip(labels, tensors, strict=True)]
    return torch.cat(list(tensors))[torch.cat(classes).argsort(stable=True)]


def _joined_environment(environments: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Every value of each name, once."""
    names = dict.fromkeys(name for environment in environments for name in environment)
    return {name: ", ".join(dict.fromkeys(found[name] for found in environments if name in found)) for name in names}


def _summed(histories: Sequence[tuple[tuple[int, float], ...]]) -> tuple[tuple[int, float], ...]:
    """The summed loss of the iterations that all shards have recorded."""
    by_iteration = [dict(history) for history in histories]
    common = [iteration for iteration in by_iteration[0] if all(iteration in points for points in by_iteration)]
    return tuple((iteration, sum(points[iteration] for points in by_iteration)) for iteration in common)


def _check_same(first: Metadata, other: Metadata, number: int) -> None:
    for name in _SAME:
        one, two = getattr(first, name), getattr(other, name)
        if one != two:
            shown = "" if isinstance(one, dict) else f": {one} and {two}"
            raise ValueError(f"Shards 1 and {number} are of different builds: their {name} differs{shown}.")
    if first.environment.get("precision") != other.environment.get("precision"):
        raise ValueError(f"Shards 1 and {number} are of different builds: their precision differs.")
