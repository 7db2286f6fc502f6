"""Synthetic samples whose every value is learned and stored.

Letters: N samples, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.data.real import RealData
from condensed_data.methods.base import SyntheticData, SyntheticSpec
from condensed_data.methods.coresets import Init, Random
from condensed_data.methods.synthetic.groups import group_layout
from condensed_data.training.context import Context


@dataclass(frozen=True)
class Pixels(SyntheticSpec):
    """Every value of every sample is learned.

    Args:
        init: initial samples.
        clamp: learn values in [0, 1], where 0 and 1 are the ends of the source's range (see `value_range`), and clamp
            them to it after every iteration, as IDC does (Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959);
            learning rates then refer to that unit range. Other methods learn unbounded standardized values.
    """

    init: Init = field(default_factory=Random)
    clamp: bool = False

    def start(self, context: Context) -> SyntheticData:
        sizes, labels, groups = group_layout(context.real, context.ipc)
        images = self.init.samples(context, sizes).detach().clone().requires_grad_()
        if not self.clamp:
            return _PixelData(images, labels, groups)
        low, high = (_per_channel(edge, images.detach()) for edge in value_range(context.real))
        return _UnitRangeData(images.detach(), low, (high - low).clamp_min(torch.finfo(low.dtype).tiny), labels, groups)

    def restore(self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]) -> SyntheticData:
        return _PixelData(tensors["images"], labels, labels)


class _PixelData(SyntheticData):
    def __init__(self, images: Tensor, labels: Tensor, groups: Tensor) -> None:
        self.images, self.labels, self.groups = images, labels, groups
        self.learned = {"images": images}

    def decode(self, index: Tensor) -> Tensor:
        return self.images[to_device(index, self.images.device)]

    def tensors(self) -> dict[str, Tensor]:
        return {"images": self.images.detach().cpu()}


class _UnitRangeData(SyntheticData):
    """Values in [0, 1], which stand for [low, low + width] in each channel."""

    def __init__(self, images: Tensor, low: Tensor, width: Tensor, labels: Tensor, groups: Tensor) -> None:
        self.low, self.width, self.labels, self.groups = low, width, labels, groups
        self.units = ((images - low) / width).clamp_(0, 1).requires_grad_()
        self.learned = {"images": self.units}

    def decode(self, index: Tensor) -> Tensor:
        return self.low + self.width * self.units[to_device(index, self.units.device)]

    def tensors(self) -> dict[str, Tensor]:
        return {"images": (self.low + self.width * self.units).detach().cpu()}

    def clamp(self) -> None:
        with torch.no_grad():
            self.units.clamp_(0, 1)


def _per_channel(values: Tensor, samples: Tensor) -> Tensor:
    """Per-channel values (C,), shaped to broadcast with samples (N, C, ...)."""
    return values.to(samples.device).view(1, -1, *[1] * (samples.dim() - 2))


def value_range(real: RealData) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of every channel in the standardized space, (C,) each.

    For 8-bit sources the range that 8 bits can represent, for others the range of the real samples.

    Raises:
        ValueError: for a whitened space, in which single values have no range.
    """
    space, kind = real.space, real.kind
    if space.whitening is not None:
        raise ValueError(
            "whitening='zca' mixes pixels, so single values have no fixed range to clamp to. Use whitening='none', or "
            "Pixels(clamp=False) and a MultiFormation factor that divides the sides of the samples."
        )
    if kind.eight_bit:
        low, high = torch.zeros_like(space.mean), torch.full_like(space.mean, kind.max_value)
    else:
        edges = [rows.float().cpu().transpose(0, 1).flatten(1).aminmax(dim=1) for rows in real.store.chunks()]
        low = torch.stack([edge.min for edge in edges]).amin(0)
        high = torch.stack([edge.max for edge in edges]).amax(0)
    return (low - space.mean) / space.std, (high - space.mean) / space.std
