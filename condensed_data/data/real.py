"""The real samples of one source: read once, held by class and by group, lent standardized on one device.

Letters: n real samples, K classes, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.data.groups import plain_values
from condensed_data.data.sample_store import CHUNK, SampleStore
from condensed_data.data.source import LoadedSource, Source, read
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.data.whitening import Whitening


@dataclass(frozen=True)
class RealData:
    """Real samples, their classes and groups.

    Attributes:
        kind: what one sample of the source is.
        space: the map to the standardized space.
        store: n samples in the source's value space (8-bit for PIL images).
        fingerprint: of the source's content.
        labels: (n,) class index.
        class_values: (K,) the source's own label of every class, increasing.
        class_names: K names; `named` tells whether the source gave them.
        groups: (n,) group of every sample; groups are numbered class by class.
        group_class: (G,) class of every group.
        members: G tensors of sample indices.
    """

    kind: SampleKind
    space: ValueSpace
    store: SampleStore
    fingerprint: str
    labels: Tensor
    class_values: Tensor
    class_names: tuple[str, ...]
    named: bool
    groups: Tensor
    group_class: Tensor
    members: tuple[Tensor, ...]

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
        """Synthetic samples of every group: `ipc` of each class, split evenly over its groups.

        Raises:
            ValueError: where a class has more groups than `ipc`.
        """
        sizes = []
        for label in range(self.num_classes):
            count = int((self.group_class == label).sum())
            if count > ipc:
                raise ValueError(
                    f"ipc={ipc} is less than the {count} groups of class {self.class_names[label]!r}: "
                    f"every group needs at least one sample. Use ipc={count} or more."
                )
            sizes += [ipc // count + (i < ipc % count) for i in range(count)]
        return tuple(sizes)

    def batch(self, index: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Standardized samples (len(index), *shape) float32 and their classes (len(index),) int64 on `device`."""
        rows, labels = self[index], self.labels[index]
        return to_device(rows, device), to_device(labels, device)

    def to(self, device: torch.device) -> RealData:
        """The same with the samples on `device`, where they fit."""
        return replace(self, store=self.store.to(device))

    def whitened(self) -> RealData:
        """The same in the space of ZCA whitening."""
        chunks = (self[rows] for rows in torch.arange(len(self)).split(CHUNK))
        return replace(self, space=replace(self.space, whitening=Whitening.from_samples(chunks)))

    def all_samples(self) -> Tensor:
        """All samples (n, *shape) float32 in the source's value space ([0, 1] for PIL images)."""
        rows = torch.cat(list(self.store.chunks())).float()
        return rows / 255 if self.kind.is_pil else rows

    @staticmethod
    def read(
        source: Source, groups: Any = None, num_workers: int = 0, progress: bool = True, **where: Any
    ) -> RealData:
        """Read a source whole; see `source.read` for what `where` may hold, and `RealData.from_loaded`."""
        loaded = read(source, num_workers, progress, **where)
        return RealData.from_loaded(loaded, source.kind, source.class_names, groups)

    @staticmethod
    def from_loaded(
        loaded: LoadedSource, kind: SampleKind, class_names: Sequence[str] | None = None, groups: Any = None
    ) -> RealData:
        """From a source that was read.

        Args:
            groups: an attribute of every sample that is carried to the synthetic side, (n,) integers or strings.

        Raises:
            SourceError: for groups that do not fit the samples.
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
            named,
            group,
            pairs[:, 0],
            tuple(members),
        )


def _attribute(groups: Any, count: int) -> Tensor:
    """(n,) int64: the rank of every sample's attribute among its values; 0 without groups."""
    if groups is None:
        return torch.zeros(count, dtype=torch.int64)
    values = plain_values(groups, count)
    known = {value: number for number, value in enumerate(sorted(set(values)))}
    return torch.tensor([known[value] for value in values])
