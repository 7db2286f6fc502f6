"""A small learnable source and the context of a run on it, for tests of pools, coresets and clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sources import real as real_of
from torch import Tensor

from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.methods.base import SyntheticData
from condensed_data.networks import ConvNet
from condensed_data.storage import checkpoint
from condensed_data.training.context import Context

NETWORK = ConvNet(width=8, depth=2)
SIZES = (30, 20, 7)


def samples(shape: tuple[int, ...] = (1, 8, 8), sizes: tuple[int, ...] = SIZES) -> tuple[Tensor, Tensor]:
    """Noisy copies of one random prototype per class, (n, *shape) and (n,), in random order."""
    prototypes = torch.randn(len(sizes), *shape, generator=torch.Generator().manual_seed(5))
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(6))]
    noise = torch.randn(len(labels), *shape, generator=torch.Generator().manual_seed(7))
    return prototypes[labels] + 0.5 * noise, labels


def small_real(shape: tuple[int, ...] = (1, 8, 8), sizes: tuple[int, ...] = SIZES, groups: Any = None) -> RealData:
    return real_of(*samples(shape, sizes), groups)


def context(real: RealData | None = None, seed: int = 0, ipc: int = 2, **fields: Any) -> Context:
    return Context(real or small_real(), ipc, RandomStreams(seed), torch.device("cpu"), **fields)


class FixedData(SyntheticData):
    """Synthetic samples that are not learned."""

    def __init__(self, ctx: Context, per_class: int = 4) -> None:
        real = ctx.real
        index = torch.cat([members[:per_class] for members in real.members])
        self.images = real[index].clone().requires_grad_()
        self.learned = {"images": self.images}
        self.labels, self.groups = real.labels[index], real.groups[index]

    def decode(self, index: Tensor) -> Tensor:
        return self.images[index]

    def tensors(self) -> dict[str, Tensor]:
        return {"images": self.images.detach()}


def through_a_file(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A state after a round trip through a checkpoint."""
    checkpoint.write(folder / "state", state, {})
    return checkpoint.read(folder / "state", {})


def weights_of(module: torch.nn.Module) -> Tensor:
    """A copy of all parameters of a network in one vector."""
    return torch.cat([weight.detach().flatten() for weight in module.parameters()]).clone()
