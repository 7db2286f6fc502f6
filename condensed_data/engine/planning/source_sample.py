"""Reads the part of a source that a plan is measured on: a few classes, and few samples of each.

Letters: n real samples.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from condensed_data.core.spec import require_resolved
from condensed_data.data.batched_reads import call_in_worker, read_batches, second_reads
from condensed_data.data.real import RealData
from condensed_data.data.sample import SourceError, check_label, fetch, label_values
from condensed_data.data.source import LoadedSource, Source
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.samplers.by_group import PerGroup

LABELS = 2048  # samples to read for their labels if the source does not list these
MIN_PER_CLASS = 32  # real samples to read per class


def first_samples(real: RealData, classes: int, rows: int) -> RealData:
    """Up to `rows` samples of each of the first `classes` classes."""
    keep = torch.cat([members[:rows] for members in real.members[:classes]]).sort().values
    if len(keep) == len(real):
        return real
    store = type(real.store)(torch.cat(list(real.store.chunks()))[keep])
    loaded = LoadedSource(store, real.class_values[real.labels[keep]], real.space, real.fingerprint, real.known)
    return RealData.from_loaded(loaded, real.kind, real.source_classes)


def read_classes(
    source: Source, labels: Tensor, classes: Tensor, recipe: Recipe, all_labels: bool
) -> tuple[RealData, float]:
    """Read as many samples of some classes as one iteration of a resolved recipe uses.

    Args:
        source: the whole source.
        labels, all_labels: what `read_labels` returned.
        classes: (k,) label values of the classes to read.

    Returns:
        The samples, and the seconds that one read of one sample took.
    """
    batches = [require_resolved(term.sampler.batch) for term in recipe.terms if isinstance(term.sampler, PerGroup)]
    per_class = max([MIN_PER_CLASS, *batches])
    known = labels
    if not all_labels:
        known = torch.full((len(source),), -1)  # unknown
        known[_spread_indices(len(source))] = labels
    members = [(known == value).nonzero()[:, 0] for value in classes]
    if not all_labels:  # the few samples with known labels stand for the others
        members = [rows.repeat(-(-min(per_class, MIN_PER_CLASS) // len(rows))) for rows in members]
    rows = torch.cat([row[:per_class] for row in members]).tolist()
    started = time.perf_counter()
    real = RealData.read(replace(source, dataset=Subset(source.dataset, rows)), progress=False)
    return real, (time.perf_counter() - started) / (len(rows) + len(second_reads(len(rows))))


def read_labels(source: Source) -> tuple[Tensor, bool]:
    """The labels (n,) of all samples and True; or, if listing them needs reading all samples, of some and False."""
    listed = call_in_worker(partial(_listed_labels, source.dataset), source.num_workers)
    if listed is not None and len(listed) == len(source):
        return listed, True
    indices = _spread_indices(len(source))
    labels: list[int] = []
    read_batches(
        partial(_label, source.dataset),
        indices.tolist(),
        list,
        labels.extend,
        changed="source has other labels in a second read. Give it fixed labels.",
        title="reading labels",
        num_workers=source.num_workers,
        progress=False,
    )
    return torch.tensor(labels), len(indices) == len(source)


def _label(dataset: Any, index: int) -> int:
    return check_label(fetch(dataset, index)[1], index)


def _spread_indices(count: int) -> Tensor:
    """Up to `LABELS` indices at even distances in 0..count-1."""
    return torch.linspace(0, count - 1, min(LABELS, count)).round().long()


def _listed_labels(dataset: Any) -> Tensor | None:
    """Labels that the dataset lists, also through subsets and concatenations; None if it does not."""
    if isinstance(dataset, Subset):
        labels = _listed_labels(dataset.dataset)
        return None if labels is None else labels[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, ConcatDataset):
        parts = [part for part in map(_listed_labels, dataset.datasets) if part is not None]
        return torch.cat(parts) if len(parts) == len(dataset.datasets) else None
    if isinstance(dataset, TensorDataset):
        return label_values(dataset.tensors[1])
    targets = getattr(dataset, "targets", None)
    changed = getattr(dataset, "target_transform", None) is not None
    if targets is None or changed or len(targets) != len(dataset):
        return None
    try:
        return torch.as_tensor(np.asarray(targets)).long().flatten()
    except (TypeError, ValueError) as error:
        raise SourceError(f"source.targets cannot be converted to integers: {error}. Give integer labels.") from error
