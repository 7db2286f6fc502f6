"""Experts trained by the definition of SGD, to compare trajectories with."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pool_data import NETWORK, weights_of
from torch import Tensor

from condensed_data import networks
from condensed_data.core.rng import RandomStreams
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig

QUICK = Pretraining(epochs=4, networks=2, sgd=SGDConfig(0.05, batch_size=16))


def by_hand(where: Context, index: int) -> list[Tensor]:
    """All parameters of an expert after every epoch, from the definition of SGD."""
    real, seed = where.real, where.rng.seed_for("trained network", index)
    module = networks.build(NETWORK, real.num_classes, real.sample_shape, RandomStreams(seed).seed_for("network"))
    seen = [weights_of(module)]
    for epoch in range(QUICK.epochs):
        draws = RandomStreams(RandomStreams(seed).seed_for("epoch", epoch))
        order = torch.randperm(len(real), generator=draws.torch("shuffle"))
        for rows in order.split(16):
            module.zero_grad()
            F.cross_entropy(module(real[rows]), real.labels[rows]).backward()
            with torch.no_grad():
                for weight in module.parameters():
                    weight -= 0.05 * weight.grad
        seen.append(weights_of(module))
    return seen


def flat(weights: dict[str, Tensor], like: Any) -> Tensor:
    return torch.cat([weights[name].flatten() for name, _ in like.named_parameters()])
