"""CutMix: pastes a box of one sample into another, and mixes their labels by area.

Letters: B rows of a batch, K classes, C channels, H, W, L.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.core.validation import require


@dataclass(frozen=True)
class SpatialCutMix(DataDefault):
    """A probability of CutMix in a step for images and signals; 0 for vectors, which have no box to paste."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        require(0 <= self.probability <= 1, "SpatialCutMix", "probability", self.probability, "in [0, 1]")

    def __call__(self, info: DatasetInfo) -> float:
        return self.probability if len(info.sample_shape) > 1 else 0.0


def mix(
    x: Tensor, y: Tensor, rng: RandomStreams, step: int, *, probability: float, beta: float = 1.0
) -> tuple[Tensor, Tensor]:
    """CutMix: with the given probability, paste a box of another sample of the batch into each sample.

    The box covers the fraction 1 - lambda of the area, lambda ~ Beta(beta, beta), and is clipped at the border;
    labels are mixed by the clipped area (Yun et al., https://arxiv.org/abs/1905.04899, section 3.1).

    Args:
        x: (B, C, H, W) or (B, C, L).
        y: (B, K) label probabilities.
        rng, step: name the draw.
        probability: that this step mixes, in [0, 1].
        beta: both parameters of the Beta distribution of lambda; positive.

    Returns:
        Samples and label probabilities, in the same shapes.
    """
    draw = rng.numpy("cutmix", step)
    if draw.random() >= probability:
        return x, y
    keep = draw.beta(beta, beta)
    partner = to_device(torch.from_numpy(draw.permutation(len(x))), x.device)
    box = _box(tuple(x.shape[2:]), 1 - keep, draw)
    inside = (slice(None), slice(None), *box)
    mixed = x.clone()
    mixed[inside] = x[partner][inside]
    pasted = math.prod(cut.stop - cut.start for cut in box) / math.prod(x.shape[2:])
    return mixed, y * (1 - pasted) + y[partner] * pasted


def _box(size: tuple[int, ...], fraction: float, draw: np.random.Generator) -> tuple[slice, ...]:
    """A box that covers this fraction of the area around a uniform center, clipped at the border."""
    cuts = []
    for side in size:
        half = int(side * fraction ** (1 / len(size))) // 2
        center = int(draw.integers(side))
        cuts.append(slice(max(center - half, 0), min(center + half, side)))
    return tuple(cuts)
