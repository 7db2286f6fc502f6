"""The part of a source that a plan is measured on: some classes, and few samples of each.

Letters: n samples.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from condensed_data.core.spec import require_resolved
from condensed_data.data.real import RealData
from condensed_data.data.sample import SourceError, fetch
from condensed_data.data.source import Source
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.samplers.by_group import PerGroup

LABELS = 2048  # samples whose labels are read where the source does not list them
LEAST = 32  # real samples a class that are read


def of_first(real: RealData, classes: int) -> RealData:
    """The samples of the first classes."""
    if classes == real.num_classes:
        return real
    keep = (real.labels < classes).nonzero()[:, 0]
    groups = [group for group, label in enumerate(real.group_class.tolist()) if label < classes]
    place = torch.full((len(real),), -1).scatter(0, keep, torch.arange(len(keep)))
    store = type(real.store).of(torch.cat(list(real.store.chunks()))[keep])
    return replace(
        real,
        store=store,
        labels=real.labels[keep],
        groups=real.groups[keep],
        class_values=real.class_values[:classes],
        class_names=real.class_names[:classes],
        group_class=real.group_class[: len(groups)],
        members=tuple(place[real.members[group]] for group in groups),
    )


def sampled(
    source: Source, labels: Tensor, chosen: Tensor, recipe: Recipe, counted: bool
) -> tuple[RealData, float]:
    """As many real samples of these classes as an iteration meets, and the seconds to read one."""
    batches = [require_resolved(t.sampler.batch) for t in recipe.terms if isinstance(t.sampler, PerGroup)]
    most = max([LEAST, *batches])
    known = labels if counted else _spread(labels, len(source))
    index = [(known == value).nonzero()[:, 0] for value in chosen]
    if not counted:  # few are known, and stand for the others
        index = [rows.repeat(-(-min(most, LEAST) // len(rows))) for rows in index]
    rows = torch.cat([row[:most] for row in index]).tolist()
    begun = time.perf_counter()
    real = RealData.read(replace(source, dataset=Subset(source.dataset, rows)), progress=False)
    return real, (time.perf_counter() - begun) / len(rows)


def _spread(labels: Tensor, count: int) -> Tensor:
    """Labels (n,) of a sample, -1 where they were not read; `labels` are those of evenly spread samples."""
    known = torch.full((count,), -1)
    known[_places(count)] = labels
    return known


def _places(count: int) -> Tensor:
    return torch.linspace(0, count - 1, min(LABELS, count)).round().long()


def labels_of(source: Source) -> tuple[Tensor, bool]:
    """Labels of all samples and True; where the source does not list them, those of a sample and False."""
    listed = _listed(source.dataset)
    if listed is not None and len(listed) == len(source):
        return listed, True
    places = _places(len(source))
    read = torch.tensor([int(fetch(source.dataset, int(at))[1]) for at in places])
    return read, len(places) == len(source)


def _listed(dataset: Any) -> Tensor | None:
    if isinstance(dataset, Subset):
        below = _listed(dataset.dataset)
        return None if below is None else below[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, ConcatDataset):
        parts = [_listed(part) for part in dataset.datasets]
        return None if any(part is None for part in parts) else torch.cat([p for p in parts if p is not None])
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[1].long()
    targets = getattr(dataset, "targets", None)
    if targets is None or len(targets) != len(dataset):
        return None
    try:
        return torch.as_tensor(np.asarray(targets)).long()
    except (TypeError, ValueError) as error:
        raise SourceError(f"source.targets are no integers: {error}") from error
