"""Trajectory matching (MTT): distance of a student's weights to those of an expert.

Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932, equation 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.core.batch import NetworkView, Pair
from condensed_data.core.validation import check_choice
from condensed_data.methods.base import MemoryFootprint, Objective, Pool
from condensed_data.methods.objectives.unrolled import UNROLLS, trained_weights, unrolled_footprint


@dataclass(frozen=True)
class Trajectory(Objective):
    """Squared distance of a student's weights to an expert's later ones, relative to the distance the expert moved.

    The student starts at the expert's weights, which the network of the `Experts` pool has, and takes one step on each
    synthetic block. Distances are over all parameters.

    Args:
        unroll: how the steps are differentiated, see `condensed_data.methods.objectives.unrolled`: "full" (the paper),
            "checkpointed" (the same derivative in less memory) or "constant" (TESLA's, in the memory of one step,
            without the terms with a second derivative in the weights).

    Raises:
        ValueError: when called, for a network without `target`, or samples without step sizes.
    """

    unroll: str = "full"
    separable: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("Trajectory", "unroll", self.unroll, UNROLLS)

    def check_pool(self, pool: Pool) -> None:
        if not pool.provides_targets:
            raise ValueError(
                f"Cannot use Trajectory with the {type(pool).__name__} pool: it needs an expert's later weights. Use "
                "the Experts pool."
            )

    def memory_footprint(self, real: Sequence[int], synthetic: Sequence[int]) -> MemoryFootprint:
        return unrolled_footprint(self.unroll, synthetic)

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        if not net.target:
            raise ValueError(
                "Cannot use Trajectory with this pool: it needs an expert's later weights. Use the Experts pool."
            )
        start = dict(net.module.named_parameters())
        student = trained_weights(net, pair, self.unroll)
        distance = _squares(student[name] - net.target[name] for name in start)
        expert_distance = _squares(start[name].detach() - net.target[name] for name in start)
        return distance / expert_distance


def _squares(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum()
