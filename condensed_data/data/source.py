"""Check a dataset before any long computation, and read it once.

Any map-style torch Dataset of (sample, integer label) is a source. Samples are PIL images or tensors of one
shape: images (C, H, W), signals (C, L) or vectors (D,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

from condensed_data.core.text import storable_name
from condensed_data.data.axes import axes_error
from condensed_data.data.batched_reads import BATCH, batch_size, call_in_worker, check_second_read, read_batches
from condensed_data.data.bit_depth import clipping_error
from condensed_data.data.class_names import class_names
from condensed_data.data.fingerprint import ContentHasher
from condensed_data.data.known_datasets import known_name, published_space
from condensed_data.data.random_transforms import check_applies, without_random_transforms
from condensed_data.data.sample import (
    SourceError,
    Variation,
    check_kind,
    check_label,
    fetch,
    kind_of,
    label_values,
    to_tensor,
)
from condensed_data.data.sample_store import SampleStore, SampleStoreWriter
from condensed_data.data.value_space import SampleKind, ValueSpace

SPOTS = 64  # samples that are read to check a fingerprint that the user gave


@dataclass(frozen=True)
class Source:
    """A dataset that passed the checks."""

    dataset: Dataset[Any]  # without its random transforms
    kind: SampleKind  # type and shape of its samples
    # the removed random transforms, which are applied to the condensed samples instead; or None
    random_transform: Callable[[Any], Any] | None
    name: str  # the dataset's `source_name`, or its class name; for a subset, those of the underlying dataset
    class_names: tuple[str, ...] | None  # by label, see `data.class_names`
    num_workers: int = 0  # processes that read it; if there are any, no sample is read in this one
    known: str | None = None  # name of a dataset with published settings, see `data.known_datasets`

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]


_CHANGED = (
    "source[{index}] differs between two reads, so there is no fixed dataset. Remove its random transforms (those of a "
    "source to condense can be passed as CondensedDataset(..., transform=...)), or use a fixed copy, such as "
    "TensorDataset(images, labels). With num_workers, a file that was opened before the workers started also gives "
    "such errors: open it on first use."
)


def inspect(dataset: Any, num_workers: int = 0) -> Source:
    """Check a dataset by a few samples, and remove its random transforms.

    Args:
        dataset: a map-style dataset of (sample, label).
        num_workers: processes that read it, now and later; see `Source`.

    Raises:
        SourceError: if the dataset is empty or not map-style; if items are not (sample, label) pairs; if samples
            are of an unsupported kind, or differ between two reads; if labels are not single non-negative integers.
    """
    if isinstance(dataset, DataLoader):
        raise SourceError("source is a DataLoader. Pass its dataset: loader.dataset.")
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise SourceError(
            f"source is a {type(dataset).__name__}, whose samples have no index. Convert it to a map-style dataset "
            "first, such as TensorDataset(images, labels)."
        )
    if not hasattr(dataset, "__len__"):
        raise SourceError(f"source is a {type(dataset).__name__} without a length. Give it a __len__ method.")
    if len(dataset) == 0:
        raise SourceError("source is empty. Pass a dataset with at least one sample.")
    if error := clipping_error(dataset):
        raise SourceError(error)
    plain, random = without_random_transforms(dataset)
    if type(plain) is TensorDataset:
        num_workers = 0  # it is in memory
    kind, first, name, names = call_in_worker(partial(_examine, plain), num_workers)
    if error := axes_error(dataset, kind):
        raise SourceError(f"source {error}")
    if random is not None:
        check_applies(random, kind.to_sample(first.float() / (255 if kind.is_pil else 1)))
    known = known_name(plain, kind.shape)
    return Source(plain, kind, random, storable_name(str(name)), names, num_workers, known)


@dataclass(frozen=True)
class LoadedSource:
    """A source after all its samples were read."""

    store: SampleStore  # n samples
    labels: Tensor  # (n,) int64, the source's own labels
    space: ValueSpace  # conversion to the standardized space
    fingerprint: str  # of the source's content
    known: str | None = None  # see `Source`


def read(source: Source, progress: bool = True, memory: int | None = None, folder: Path | None = None) -> LoadedSource:
    """Read all samples once, and some a second time to notice randomness, see `batched_reads`.

    `memory` and `folder` are `limit` and `folder` of `SampleStoreWriter`.

    Raises:
        SourceError: if a sample cannot be read, has another shape, contains NaN or infinite values or differs between
            two reads, or if a label is not a non-negative integer; the error names the index.
        OSError: if the samples fit neither into memory nor on the disk.
    """
    if type(source.dataset) is TensorDataset:
        return _load_tensors(source)
    content = ContentHasher(source.kind, len(source))
    writer = SampleStoreWriter(len(source), source.kind.shape, source.kind.eight_bit, memory, folder)
    varies, labels = Variation(len(source)), list[Tensor]()
    size = batch_size(math.prod(source.kind.shape) * (1 if source.kind.eight_bit else 4))

    def add(batch: list[Tensor]) -> None:
        start = size * len(labels)
        _check_finite(batch[0], start)
        content.update(batch[0])
        varies.update(batch[0])
        writer.write(start, batch[0])
        labels.append(batch[1])

    read_batches(
        partial(_read_row, source.dataset, source.kind),
        range(len(source)),
        default_collate,
        add,
        changed=_CHANGED,
        title=f"reading {source.name}",
        num_workers=source.num_workers,
        progress=progress,
        size=size,
    )
    varies.check()
    values = torch.cat(labels)
    space = published_space(source.known, content.space())
    return LoadedSource(writer.finish(), values, space, content.fingerprint(values), source.known)


def spot_check(source: Source) -> str:
    """A hash of up to `SPOTS` evenly spaced samples and their labels, of the kind of samples and of their number.

    It notices that a source under the name of another one was given, not that a single sample changed.
    """
    spots = torch.linspace(0, len(source) - 1, min(SPOTS, len(source))).long().tolist()
    content, labels = ContentHasher(source.kind, len(source)), list[Tensor]()

    def add(batch: list[Tensor]) -> None:
        content.update(batch[0])
        labels.append(batch[1])

    read_batches(
        partial(_read_row, source.dataset, source.kind),
        spots,
        default_collate,
        add,
        changed=_CHANGED,
        title="",
        num_workers=source.num_workers,
        progress=False,
    )
    return content.fingerprint(torch.cat(labels))[:16]


def _examine(dataset: Any) -> tuple[SampleKind, Tensor, str, tuple[str, ...] | None]:
    """Kind and values of the first sample, name and class names, after a few samples were checked and read twice.

    An attribute may open a file, too.
    """
    sample, label = fetch(dataset, 0)
    kind = kind_of(sample, 0)
    row = partial(_read_row, dataset, kind)
    first = _own(sample), check_label(label, 0)
    count = len(dataset)
    for index in sorted({0, count // 3, count // 2, count - 1}):
        check_second_read(row, index, row(index) if index else first, _CHANGED)
    root = _root(dataset)
    return kind, first[0], getattr(root, "source_name", type(root).__name__), class_names(dataset)


def _root(dataset: Any) -> Any:
    """The dataset below subsets."""
    return _root(dataset.dataset) if isinstance(dataset, Subset) else dataset


def _load_tensors(source: Source) -> LoadedSource:
    """Load a `TensorDataset` without reading it item by item."""
    samples, labels = source.dataset.tensors  # type: ignore[attr-defined]
    samples = samples.detach().cpu()
    if not source.kind.eight_bit:
        samples = samples.float()
        _check_finite(samples, 0)
    labels = label_values(labels)
    content, varies = ContentHasher(source.kind, len(source)), Variation(len(source))
    for rows in samples.split(BATCH):
        content.update(rows)
        varies.update(rows)
    varies.check()
    return LoadedSource(SampleStore(samples), labels, content.space(), content.fingerprint(labels))


def _read_row(dataset: Any, kind: SampleKind, index: int) -> tuple[Tensor, int]:
    sample, label = fetch(dataset, index)
    check_kind(sample, kind, index)
    return _own(sample), check_label(label, index)


def _own(sample: Any) -> Tensor:
    """The values of a sample in memory of their own: a dataset may yield one buffer again and again."""
    return to_tensor(sample).cpu().clone()


def _check_finite(rows: Tensor, first: int) -> None:
    if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
        bad = first + int((~torch.isfinite(rows.flatten(1)).all(1)).nonzero()[0])
        raise SourceError(f"source[{bad}] contains NaN or infinite values. Remove or repair that sample.")
