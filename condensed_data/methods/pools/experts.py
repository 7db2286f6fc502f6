"""MTT's experts: networks at a random epoch of a training on real samples, and their weights some epochs later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_choice, check_count
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods.base import PoolState
from condensed_data.methods.pools.network_slot import NetworkPool, NetworkSlot, StatelessPoolState, copy_weights
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trajectories import PRECISIONS, expert_trajectories

_PUBLISHED = Pretraining(
    epochs=21, networks=100, sgd=SGDConfig(0.01, augment=SiameseAugment(DefaultDSAOps(), per_sample=True))
)


@dataclass(frozen=True)
class Experts(NetworkPool):
    """A random expert at a random epoch t in every iteration; `NetworkView.target` holds its weights at t + `ahead`.

    MTT: Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932, algorithm 1: 100 experts trained by SGD
    at 0.01 without momentum on batches of 256 with DSA. t is uniform over 0 to `pretrain.epochs` - `ahead`, so that
    every trained epoch is used; the paper's largest start epoch T+ corresponds to `pretrain.epochs` = T+ - 1 +
    `ahead`. Only parameters are stored. Batch-norm statistics are those of a new network, which training mode ignores.

    Args:
        pretrain: number of experts, their epochs and how they are trained.
        ahead: M, epochs between a start and its target.
        precision: in which trajectories are stored: "fp16" (the default; the authors keep fp32) or "fp32".

    Raises:
        ValueError: for experts that are trained for fewer epochs than `ahead`.
    """

    pretrain: Pretraining = field(default=_PUBLISHED)
    ahead: int | DataDefault = 2
    precision: str = "fp16"
    provides_targets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("Experts", "ahead", self.ahead, or_default=True)
        check_choice("Experts", "precision", self.precision, PRECISIONS)
        unresolved = isinstance(self.ahead, DataDefault) or isinstance(self.pretrain.epochs, DataDefault)
        if not unresolved and self.ahead > self.pretrain.epochs:  # type: ignore[operator]
            raise ValueError(
                f"Experts(ahead={self.ahead}) must not exceed pretrain.epochs={self.pretrain.epochs}. "
                f"Use ahead={self.pretrain.epochs} or less, or more epochs."
            )

    def start(self, context: Context) -> PoolState:
        return _ExpertsState(self, context)


class _ExpertsState(StatelessPoolState):
    def __init__(self, spec: Experts, context: Context) -> None:
        self.spec, self.context = spec, context
        self.slot = NetworkSlot(spec.network, context)
        self.trajectories = expert_trajectories(context, spec.network, spec.pretrain, spec.precision)
        self.parameters = dict(self.slot.module.named_parameters())
        self.target = {name: torch.empty_like(weight) for name, weight in self.parameters.items()}
        self.slot.net.target = self.target

    def _key(self, iteration: int) -> tuple[int, int]:
        choice = self.context.rng.choice
        starts = require_resolved(self.spec.pretrain.epochs) - require_resolved(self.spec.ahead) + 1
        return (
            int(choice("expert", iteration, 0, len(self.trajectories), 1)),
            int(choice("expert epoch", iteration, 0, starts, 1)),
        )

    def _load(self, expert: int, epoch: int) -> None:
        start = self.trajectories[expert].at(epoch)
        end = self.trajectories[expert].at(epoch + require_resolved(self.spec.ahead))
        copy_weights(self.parameters, start)
        copy_weights(self.target, end)
