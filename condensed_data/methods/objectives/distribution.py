"""Distribution matching (DM): distance of mean embeddings.

Zhao and Bilen, WACV 2023, https://arxiv.org/abs/2110.04181, equation 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from condensed_data.core.batch import NetworkView, Pair
from condensed_data.methods.base import Objective


@dataclass(frozen=True)
class Distribution(Objective):
    """Squared distance between mean embeddings: sum over groups and features of (mean_real - mean_synthetic)^2.

    The sum is not normalized: the published learning rate of 1.0 assumes the plain sum.
    """

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        with torch.no_grad():
            real = pair.real.means(net.embed(pair.real.x))
        return (real - pair.synthetic.means(net.embed(pair.synthetic.x))).square().sum()
