"""Base of synthetic data that changes a little of other synthetic data: its resolution, labels or step sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from condensed_data.methods.base import SyntheticData


class WrappedData(SyntheticData):
    """Synthetic data around `inner`, with more `learned` tensors: subclasses override what differs from `inner`."""

    def __init__(self, inner: SyntheticData, learned: dict[str, Tensor] | None = None) -> None:
        self.inner = inner
        self.learned = inner.learned | (learned or {})
        self.labels, self.groups = inner.labels, inner.groups

    def decode(self, index: Tensor) -> Tensor:
        return self.inner.decode(index)

    def targets(self, index: Tensor) -> Tensor:
        return self.inner.targets(index)

    def tensors(self) -> dict[str, Tensor]:
        return self.inner.tensors()

    def clamp(self) -> None:
        self.inner.clamp()

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def shared_across_groups(self) -> frozenset[str]:
        return self.inner.shared_across_groups

    @property
    def step_sizes(self) -> Tensor | None:
        return self.inner.step_sizes

    @property
    def label_kind(self) -> str:
        return self.inner.label_kind

    @property
    def decoders_per_code(self) -> int:
        return self.inner.decoders_per_code

    @property
    def rows_per_decoder(self) -> int:
        return self.inner.rows_per_decoder

    @property
    def stored_floats(self) -> int:
        return self.inner.stored_floats
