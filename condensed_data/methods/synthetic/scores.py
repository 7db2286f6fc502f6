"""Labels that are learned as scores: any real numbers, for objectives and trainings that regress on them.

Letters: N samples, K classes, B rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.methods.base import SyntheticData, SyntheticSpec
from condensed_data.methods.synthetic.pixels import Pixels
from condensed_data.methods.synthetic.soft_labels import NAME
from condensed_data.methods.synthetic.wrapper import WrappedData
from condensed_data.training.context import Context


@dataclass(frozen=True)
class WithScores(SyntheticSpec):
    """Other synthetic data whose labels are K learned scores per sample, as FRePo learns them.

    Zhou, Nezhadarya and Ba, NeurIPS 2022, https://arxiv.org/abs/2206.00719, and the authors' code: they start at the
    one-hot row minus 1/K, divided by sqrt(K / 10). A result stores them as they are, of kind "scores"; the class of a
    sample is its largest score.

    Args:
        inner: the samples.
    """

    inner: SyntheticSpec = field(default_factory=Pixels)
    learns_scores: ClassVar[bool] = True

    @property
    def encoding(self) -> SyntheticSpec:
        return self.inner.encoding

    def start(self, context: Context) -> SyntheticData:
        inner, classes = self.inner.start(context), context.real.num_classes
        one_hot = F.one_hot(inner.labels, classes).float().to(context.device)
        return _ScoredData(inner, ((one_hot - 1 / classes) / (classes / 10) ** 0.5).requires_grad_())

    def samples_per_class(self, ipc: int, sample_shape: tuple[int, ...]) -> int:
        return self.inner.samples_per_class(ipc, sample_shape)

    def restore(self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]) -> SyntheticData:
        return self.inner.restore(tensors, labels, sample_shape)


class _ScoredData(WrappedData):
    def __init__(self, inner: SyntheticData, scores: Tensor) -> None:
        super().__init__(inner, {NAME: scores})
        self.scores = scores

    def targets(self, index: Tensor) -> Tensor:
        return self.scores[to_device(index, self.scores.device)]

    @property
    def label_kind(self) -> str:
        return "scores"
