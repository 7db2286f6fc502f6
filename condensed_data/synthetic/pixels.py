"""Synthetic samples stored value by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from condensed_data.coresets import Init, Random
from condensed_data.parts import Context, Synthesis, Synthetic


@dataclass(frozen=True)
class Pixels(Synthetic):
    """Every value of every sample is learned.

    Args:
        init: where the samples begin.
    """

    init: Init = field(default_factory=Random)

    def start(self, context: Context) -> Synthesis:
        sizes = torch.tensor(context.real.group_sizes(context.ipc))
        groups = torch.arange(len(sizes)).repeat_interleave(sizes)
        images = self.init.samples(context, sizes.tolist()).detach().clone().requires_grad_()
        return _Stored(images, context.real.group_class[groups], groups)

    def restore(self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]) -> Synthesis:
        return _Stored(tensors["images"], labels, labels)


class _Stored(Synthesis):
    def __init__(self, images: Tensor, labels: Tensor, groups: Tensor) -> None:
        self.images, self.labels, self.groups = images, labels, groups
        self.learned = {"images": images}

    def decode(self, index: Tensor) -> Tensor:
        return self.images[index.to(self.images.device)]

    def tensors(self) -> dict[str, Tensor]:
        return {"images": self.images.detach().cpu()}
