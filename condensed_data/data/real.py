"""The real samples of one source, read once, indexed by class and group, and standardized on access.

Letters: n real samples, K classes, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.data.batched_reads import call_in_worker
from condensed_data.data.class_names import confirmed
from condensed_data.data.groups import plain_values
from condensed_data.data.sample_store import CHUNK, SampleStore
from condensed_data.data.source import LoadedSource, Source, read
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.data.whitening import Whitening


@dataclass(frozen=True)
class RealData:
    """Real samples, their classes and groups."""

    kind: SampleKind  # type and shape of one sample
    space: ValueSpace  # conversion to the standardized space
    store: SampleStore  # n samples in the source's value space (8-bit for PIL images)
    fingerprint: str  # of the source's content
    labels: Tensor  # (n,) class index
    class_values: Tensor  # (K,) the source's own label of each class, increasing
    class_names: tuple[str, ...]  # K names
    source_classes: tuple[str, ...] | None  # the source's own names of all its labels, by label; None without names
    groups: Tensor  # (n,) group of each sample; groups are numbered class by class
    group_class: Tensor  # (G,) class of each group
    members: tuple[Tensor, ...]  # G tensors of sample indices
    known: str | None = None  # name of a dataset with published settings, see `data.known_datasets`

    @property
    def named(self) -> bool:
        """Whether the source gave the names of its classes."""
        return self.source_classes is not None

    @property
    def num_classes(self) -> int:
        return len(self.class_values)

    @property
    def num_groups(self) -> int:
        return len(self.group_class)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.kind.shape

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Standardized samples (len(index), *shape) float32 on the device of the store."""
        rows = self.store[index]
        return self.space.standardize(rows.float() / 255 if self.kind.is_pil else rows)

    def group_sizes(self, ipc: int) -> tuple[int, ...]:
        """Number of synthetic samples per group: the `ipc` of each class, split evenly over its groups.

        A class with more groups than `ipc` raises ValueError.
        """
        sizes = []
        for label in range(self.num_classes):
            count = int((self.group_class == label).sum())
            if count > ipc:
                raise ValueError(
                    f"ipc={ipc} is less than the {count} groups of class {self.class_names[label]!r}: "
                    f"each group needs at least one sample. Use ipc={count} or more."
                )
            sizes += [ipc // count + (i < ipc % count) for i in range(count)]
        return tuple(sizes)

    def batch(self, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Standardized samples (len(index), *shape) float32 and their classes (len(index),) int64 on `device`."""
        rows, labels = self[index], self.labels[index]
        return to_device(rows, device), to_device(labels, device)

    def to(self, device: torch.device) -> RealData:
        """Copy the samples to `device` if they fit; otherwise leave them in place; see `SampleStore.to`."""
        return replace(self, store=self.store.to(device))

    def whitened(self) -> RealData:
        """These samples in a ZCA-whitened space."""
        chunks = (self[rows] for rows in torch.arange(len(self)).split(CHUNK))
        return replace(self, space=replace(self.space, whitening=Whitening.from_samples(chunks)))

    def all_samples(self) -> Tensor:
        """All samples (n, *shape) float32 in the source's value space ([0, 1] for PIL images)."""
        rows = torch.cat(list(self.store.chunks())).float()
        return rows / 255 if self.kind.is_pil else rows

    @staticmethod
    def read(source: Source, groups: Any = None, progress: bool = True, **storage: Any) -> RealData:
        """Read all samples of a source; see `from_loaded`, and `source.read` for the `storage` arguments."""
        loaded = read(source, progress, **storage)
        names = source.class_names
        if names is not None:
            check = partial(confirmed, names, source.dataset, loaded.labels)
            names = call_in_worker(check, source.num_workers)  # as its `targets` may open a file
        return RealData.from_loaded(loaded, source.kind, names, groups)

    @staticmethod
    def from_loaded(
        loaded: LoadedSource, kind: SampleKind, class_names: Sequence[str] | None = None, groups: Any = None
    ) -> RealData:
        """Index the samples of a loaded source by class and group.

        Args:
            class_names: name of each label of the source; None if it has none.
            groups: (n,) integers or strings, an attribute of each sample that the condensed dataset keeps; others raise
                SourceError.
        """
        class_values, classes = loaded.labels.unique(return_inverse=True)
        attribute = _attribute(groups, len(classes))
        pairs, group = torch.stack([classes, attribute], 1).unique(dim=0, return_inverse=True)
        order = group.argsort(stable=True)
        members = order.split(group.bincount(minlength=len(pairs)).tolist())
        named = class_names is not None and int(class_values[-1]) < len(class_names)
        names = [class_names[v] if named and class_names else str(v) for v in class_values.tolist()]
        return RealData(
            kind,
            loaded.space,
            loaded.store,
            loaded.fingerprint,
            classes,
            class_values,
            tuple(names),
            tuple(class_names) if named and class_names else None,
            group,
            pairs[:, 0],
            tuple(members),
            loaded.known,
        )


def _attribute(groups: Any, count: int) -> Tensor:
    """(n,) int64: rank of each sample's attribute among its sorted values; 0 without groups."""
    if groups is None:
        return torch.zeros(count, dtype=torch.int64)
    values = plain_values(groups, count)
    ranks = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return torch.tensor([ranks[value] for value in values])
