"""Where synthetic samples begin, and where coresets end: samples chosen from the real ones.

Letters: N chosen samples, n real samples, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from condensed_data.parts import Context
from condensed_data.spec import Spec


class Init(Spec, ABC):
    """Where synthetic samples begin."""

    @abstractmethod
    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        """Standardised samples, `sizes[g]` of group g, in group order: (sum(sizes), *shape)."""


@dataclass(frozen=True)
class Noise(Init):
    """Standard normal noise."""

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        shape = context.real.sample_shape
        rows = [
            torch.randn(size, *shape, generator=context.streams.torch("noise", group))
            for group, size in enumerate(sizes)
        ]
        return torch.cat(rows).to(context.device)


@dataclass(frozen=True)
class Random(Init):
    """Random real samples of each group, without replacement.

    Args:
        spread: standard deviation of the noise added to repeats, where a group has fewer samples than asked for:
            equal samples would get equal gradients and stay equal. 0 keeps exact repeats.
    """

    spread: float = 0.1

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        blocks = []
        for group, size in enumerate(sizes):
            members = context.real.members[group]
            order = context.streams.choose("init", 0, group, len(members), min(size, len(members)))
            chosen = members[order.repeat(-(-size // len(order)))[:size]]
            rows = context.real[chosen].to(context.device)
            if self.spread and size > len(members):
                noise = torch.randn(rows.shape, generator=context.streams.torch("spread", group)) * self.spread
                noise[: len(members)] = 0
                rows = rows + noise.to(rows.device)
            blocks.append(rows)
        return torch.cat(blocks)
