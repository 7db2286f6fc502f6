"""Check a dataset before any long computation, and read it once.

Any map-style torch Dataset of (sample, integer label) is a source. Samples are PIL images or tensors of one
shape: images (C, H, W), signals (C, L) or vectors (D,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, default_collate

from condensed_data.data.batched_reads import BATCH, read_batches
from condensed_data.data.fingerprint import ContentHasher
from condensed_data.data.random_transforms import check_applies, without_random_transforms
from condensed_data.data.sample import SourceError, check_kind, check_label, fetch, kind_of, to_tensor
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
    class_names: tuple[str, ...] | None  # from the dataset's `classes`, or None

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]


def inspect(dataset: Any) -> Source:
    """Check a dataset by a few samples, and remove its random transforms.

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
    plain, random = without_random_transforms(dataset)
    sample, label = fetch(plain, 0)
    kind = kind_of(sample, 0)
    check_label(label, 0)
    _check_repeatable(plain, kind)
    if random is not None:
        check_applies(random, kind.to_sample(to_tensor(sample).float() / (255 if kind.is_pil else 1)))
    root = _root(dataset)
    names = getattr(root, "classes", None)
    class_names = tuple(map(str, names)) if isinstance(names, list | tuple) else None
    return Source(plain, kind, random, getattr(root, "source_name", type(root).__name__), class_names)


@dataclass(frozen=True)
class LoadedSource:
    """A source after all its samples were read."""

    store: SampleStore  # n samples
    labels: Tensor  # (n,) int64, the source's own labels
    space: ValueSpace  # conversion to the standardized space
    fingerprint: str  # of the source's content


def read(
    source: Source, num_workers: int = 0, progress: bool = True, memory: int | None = None, folder: Path | None = None
) -> LoadedSource:
    """Read all samples once, decoded in `num_workers` processes.

    `memory` and `folder` are `limit` and `folder` of `SampleStoreWriter`.

    Raises:
        SourceError: if a sample cannot be read, has another shape, or contains NaN or infinite values, or if a label
            is not a non-negative integer; the error names the index.
        OSError: if the samples fit neither into memory nor on the disk.
    """
    if type(source.dataset) is TensorDataset:
        return _load_tensors(source)
    content = ContentHasher(source.kind, len(source))
    writer = SampleStoreWriter(len(source), source.kind.shape, source.kind.eight_bit, memory, folder)
    labels = torch.empty(len(source), dtype=torch.int64)
    batches = read_batches(
        partial(_read_row, source),
        len(source),
        default_collate,
        title=f"reading {source.name}",
        num_workers=num_workers,
        progress=progress,
    )
    start = 0
    for rows, values in batches:
        _check_finite(rows, start)
        content.update(rows)
        writer.write(start, rows)
        labels[start : start + len(rows)] = values
        start += len(rows)
    return LoadedSource(writer.finish(), labels, content.space(), content.fingerprint(labels))


def spot_check(source: Source, num_workers: int = 0) -> str:
    """A hash of up to `SPOTS` evenly spaced samples and their labels, of the kind of samples and of their number.

    It notices that a source under the name of another one was given, not that a single sample changed.
    """
    spots = torch.linspace(0, len(source) - 1, min(SPOTS, len(source))).long().tolist()
    read_spot = partial(_read_spot, source, spots)
    content, labels = ContentHasher(source.kind, len(source)), []
    for rows, values in read_batches(
        read_spot, len(spots), default_collate, title="", num_workers=num_workers, progress=False
    ):
        content.update(rows)
        labels.append(values)
    return content.fingerprint(torch.cat(labels))[:16]


def _read_spot(source: Source, spots: Sequence[int], number: int) -> tuple[Tensor, int]:
    return _read_row(source, spots[number])


def _check_repeatable(dataset: Any, kind: SampleKind) -> None:
    count = len(dataset)
    for index in sorted({0, count // 3, count // 2, count - 1}):
        reads = [fetch(dataset, index)[0] for _ in range(2)]
        kinds = [kind_of(sample, index) for sample in reads]
        if kinds[0] != kinds[1] or not torch.equal(*(to_tensor(sample).nan_to_num() for sample in reads)):
            raise SourceError(
                f"source[{index}] differs between two reads, so there is no fixed dataset to condense. Remove random "
                "transforms and pass them as CondensedDataset(..., transform=...), or condense a fixed copy, such as "
                "TensorDataset(images, labels)."
            )
        check_kind(reads[0], kind, index)


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
    if labels.is_floating_point() or labels.dim() != 1:
        check_label(labels[0], 0)
    labels = labels.detach().cpu().long()
    for index in (labels < 0).nonzero().flatten().tolist():
        check_label(labels[index], index)  # raises
    content = ContentHasher(source.kind, len(source))
    for rows in samples.split(BATCH):
        content.update(rows)
    return LoadedSource(SampleStore(samples), labels, content.space(), content.fingerprint(labels))


def _read_row(source: Source, index: int) -> tuple[Tensor, int]:
    sample, label = fetch(source.dataset, index)
    check_kind(sample, source.kind, index)
    return to_tensor(sample), check_label(label, index)


def _check_finite(rows: Tensor, first: int) -> None:
    if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
        bad = first + int((~torch.isfinite(rows.flatten(1)).all(1)).nonzero()[0])
        raise SourceError(f"source[{bad}] contains NaN or infinite values. Remove or repair that sample.")
