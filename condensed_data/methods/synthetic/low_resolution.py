"""Samples stored at a lower resolution and upsampled when they are decoded.

Like single cells of the grids in `multi_formation` (Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959,
section 4), but without the grid, so that any number of samples can be stored.

Letters: N samples, f factor, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.validation import check_count
from condensed_data.methods.base import SyntheticData, SyntheticSpec
from condensed_data.methods.coresets import Init
from condensed_data.methods.synthetic.multi_formation import cell_sides, check_cells, upsample
from condensed_data.methods.synthetic.pixels import Pixels
from condensed_data.methods.synthetic.wrapper import WrappedData
from condensed_data.training.context import Context


@dataclass(frozen=True)
class Downsampled(Init):
    """Samples of `inner`, with every side divided by `factor` through averaging over areas."""

    inner: Init
    factor: int

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        return downsample(self.inner.samples(context, sizes), self.factor)


@dataclass(frozen=True)
class LowResolution(SyntheticSpec):
    """Samples learned at 1/f of their sides, rounded up, and upsampled by linear interpolation.

    Args:
        inner: the stored samples; its `init` is downsampled.
        factor: f, at least 1.

    Raises:
        ValueError: from `check`, for sample shapes that cannot be divided like that.
    """

    inner: Pixels = field(default_factory=Pixels)
    factor: int = 2

    def __post_init__(self) -> None:
        check_count("LowResolution", "factor", self.factor)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        check_cells(self.factor, sample_shape, "LowResolution")

    def start(self, context: Context) -> SyntheticData:
        self.check(context.real.sample_shape)
        inner = replace(self.inner, init=Downsampled(self.inner.init, self.factor))
        return _Upsampled(inner.start(context), context.real.sample_shape)

    def restore(self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]) -> SyntheticData:
        return _Upsampled(self.inner.restore(tensors, labels, sample_shape), sample_shape)


class _Upsampled(WrappedData):
    def __init__(self, inner: SyntheticData, sample_shape: tuple[int, ...]) -> None:
        super().__init__(inner)
        self.sides = sample_shape[1:]

    def decode(self, index: Tensor) -> Tensor:
        return upsample(self.inner.decode(index), self.sides)


def downsample(samples: Tensor, factor: int) -> Tensor:
    """(N, C, *sides) -> (N, C, *sides / f rounded up), by averaging over areas; unchanged for f = 1."""
    if factor == 1:
        return samples
    return F.interpolate(samples, size=cell_sides(factor, tuple(samples.shape[1:])), mode="area")
