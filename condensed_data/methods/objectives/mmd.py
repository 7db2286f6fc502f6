"""Kernel losses: the maximum mean discrepancy (MMD) of M3D.

Zhang et al., AAAI 2024, https://arxiv.org/abs/2312.15927.

Letters: n, m rows of a group, D features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from condensed_data.core.batch import NetworkView, Pair
from condensed_data.core.validation import check_choice, check_count
from condensed_data.methods.base import Objective


@dataclass(frozen=True)
class KernelMMD(Objective):
    """Squared maximum mean discrepancy of embeddings, summed over groups.

    For a group it is the mean of the kernel k over all pairs of real samples, minus twice its mean over pairs of a real
    and a synthetic sample, plus its mean over pairs of synthetic samples: the squared distance of the mean embeddings
    in the feature space of the kernel. With the linear kernel it equals `Distribution`. The authors' repository holds
    no code. The Gaussian kernel is that of a class `M3DLoss` in repositories of later methods; their polynomial kernel
    is not divided by D.

    Args:
        kernel: "gaussian", k = sum over scales s of exp(-||x - y||^2 / (s v)), where v is the mean squared distance
            between two different samples of the group, real or synthetic, without a gradient; "polynomial",
            k = (<x, y> / D + 1)^degree; "linear", k = <x, y>.
        scales: of the Gaussian kernel; at least one, positive and finite.
        degree: of the polynomial kernel, an integer of at least 1.
    """

    kernel: str = "gaussian"
    scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    degree: int = 2

    def __post_init__(self) -> None:
        check_choice("KernelMMD", "kernel", self.kernel, ("gaussian", "polynomial", "linear"))
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"KernelMMD(scales={self.scales}) must hold positive and finite numbers.")
        check_count("KernelMMD", "degree", self.degree)

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        with torch.no_grad():
            real = net.embed(pair.real.x)
        blocks = zip(pair.real.split(real), pair.synthetic.split(net.embed(pair.synthetic.x)), strict=True)
        return torch.stack([self._discrepancy(*block) for block in blocks]).sum()

    def _discrepancy(self, real: Tensor, synthetic: Tensor) -> Tensor:
        if self.kernel == "linear":
            return (real.mean(0) - synthetic.mean(0)).square().sum()
        # centering does not change distances, and avoids cancellation
        origin = real.mean(0) if self.kernel == "gaussian" else torch.zeros_like(real[0])
        real, synthetic = real - origin, synthetic - origin
        width = _mean_squared_distance(torch.cat((real, synthetic.detach())))
        pairs = ((real, real), (real, synthetic), (synthetic, synthetic))
        real_mean, cross_mean, synthetic_mean = (self._kernel(x, y, width).mean() for x, y in pairs)
        return real_mean - 2 * cross_mean + synthetic_mean

    def _kernel(self, x: Tensor, y: Tensor, width: Tensor) -> Tensor:
        if self.kernel == "polynomial":
            return (x @ y.T / x.shape[1] + 1) ** self.degree
        distances = _squared_distances(x, y) / width
        return torch.stack([torch.exp(-distances / scale) for scale in self.scales]).sum(0)


def _mean_squared_distance(x: Tensor) -> Tensor:
    """Between two different rows of x (n, D), n > 1: (), positive."""
    pairs = len(x) * (len(x) - 1)
    return (_squared_distances(x, x).sum() / pairs).clamp_min(torch.finfo(x.dtype).tiny)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """||x_i - y_j||^2 for rows x (n, D) and y (m, D): (n, m), at least 0."""
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_min(0)
