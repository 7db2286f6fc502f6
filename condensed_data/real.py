"""The real samples of one source: read once, held by class and by group, lent standardised on one device.

Letters: n real samples, K classes, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condensed_data.source import Source, SourceError, read
from condensed_data.space import Kind, Space


@dataclass(frozen=True)
class Real:
    """Real samples, their classes and groups.

    Attributes:
        kind: what one sample of the source is.
        space: the map to the standardised space.
        samples: (n, *shape) uint8 or float32, in the source's value space (8-bit for PIL images).
        labels: (n,) class index.
        class_values: (K,) the source's own label of every class, increasing.
        class_names: K names; `named` tells whether the source gave them.
        groups: (n,) group of every sample; groups are numbered class by class.
        group_class: (G,) class of every group.
        members: G tensors of sample indices.
    """

    kind: Kind
    space: Space
    samples: Tensor
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
        """Standardised samples (len(index), *shape) float32 on the device of the store."""
        rows = self.samples[index.to(self.samples.device)]
        return self.space.standardise(rows.float() / 255 if self.kind.is_pil else rows)

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

    def to(self, device: torch.device) -> Real:
        """The same with the samples on `device`."""
        return Real(**{**self.__dict__, "samples": self.samples.to(device)})

    @staticmethod
    def read(source: Source, groups: Any = None, num_workers: int = 0, progress: bool = True) -> Real:
        """Read a source whole.

        Args:
            groups: an attribute of every sample that is carried to the synthetic side, (n,) integers or
                strings.

        Raises:
            SourceError: for samples or labels that cannot be used, naming the index.
        """
        samples, labels = read(source, num_workers, progress)
        return Real.of(samples, labels, source.kind, source.class_names, groups)

    @staticmethod
    def of(
        samples: Tensor,
        labels: Tensor,
        kind: Kind,
        class_names: Sequence[str] | None = None,
        groups: Any = None,
    ) -> Real:
        """From tensors: (n, *shape) as `read` gives them, and (n,) the source's own labels."""
        class_values, classes = labels.unique(return_inverse=True)
        attribute = _attribute(groups, len(labels))
        pairs, group = torch.stack([classes, attribute], 1).unique(dim=0, return_inverse=True)
        order = group.argsort(stable=True)
        members = order.split(group.bincount(minlength=len(pairs)).tolist())
        named = class_names is not None and int(class_values[-1]) < len(class_names)
        names = [class_names[v] if named and class_names else str(v) for v in class_values.tolist()]
        return Real(
            kind,
            _space(samples, kind),
            samples,
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
    values = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    values = [value.item() if getattr(value, "ndim", None) == 0 else value for value in values]
    if len(values) != count:
        raise SourceError(f"groups has {len(values)} entries, the source {count} samples. Give one a sample.")
    kind = str if isinstance(values[0], str) else int
    strange = [value for value in values if not isinstance(value, kind)]
    if strange:
        raise SourceError(f"groups holds {strange[0]!r}; supported: integers or strings, not mixed.")
    known = {value: number for number, value in enumerate(sorted(set(values)))}
    return torch.tensor([known[value] for value in values])


def _space(samples: Tensor, kind: Kind) -> Space:
    """Per-channel statistics, summed in double precision in fixed chunks, whatever the workers."""
    channels = kind.shape[0]
    total, squares = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    for rows in samples.split(1024):
        values = rows.double().flatten(2) if rows.dim() > 2 else rows.double().unsqueeze(2)
        total += values.sum((0, 2))
        squares += values.square().sum((0, 2))
    scale = 255.0 if kind.is_pil else 1.0
    return Space.of(total / scale, squares / scale**2, samples.numel() // channels)
