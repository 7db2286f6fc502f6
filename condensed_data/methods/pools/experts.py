"""Experts: networks trained on the real samples, and where their training had led them a few epochs later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from condensed_data.core.device import supports_async_copy
from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_count
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods.base import NetworkView, Pool, PoolState
from condensed_data.methods.pools.module_slot import NetworkSlot
from condensed_data.networks.default import DefaultNetwork, check_network
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trajectories import PRECISIONS, Trajectories

_PUBLISHED = Pretraining(
    epochs=21, networks=100, sgd=SGDConfig(0.01, augment=SiameseAugment(DefaultDSAOps(), per_sample=True))
)


@dataclass(frozen=True)
class Experts(Pool):
    """Every iteration a random expert at a random epoch t; `NetworkView.target` is where it was `ahead` epochs later.

    MTT: Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932, algorithm 1: 100 experts trained by SGD
    at 0.01 without momentum on batches of 256 with DSA. t is uniform over 0 to `pretrain.epochs` - `ahead`, so
    that no epoch is trained which is never used: the paper's greatest start epoch T+ stands for
    `pretrain.epochs` = T+ - 1 + `ahead`. Only parameters are kept; statistics of BatchNorm are those of a new
    network, which in training mode are not used.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        pretrain: experts, their epochs and how they learn.
        ahead: M, epochs between a start and its target.
        precision: "fp16" (the default; the authors keep fp32) or "fp32", in which trajectories are kept.

    Raises:
        ValueError: for an unknown precision, or experts that are trained for fewer epochs than `ahead`.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    pretrain: Pretraining = field(default=_PUBLISHED)
    ahead: int | DataDefault = 2
    precision: str = "fp16"
    knows_targets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("Experts", "ahead", self.ahead)
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"Experts(precision={self.precision!r}) is unknown; known: {', '.join(PRECISIONS)}."
            )
        rules = isinstance(self.ahead, DataDefault) or isinstance(self.pretrain.epochs, DataDefault)
        if not rules and self.ahead > self.pretrain.epochs:  # type: ignore[operator]
            raise ValueError(
                f"Experts(ahead={self.ahead}) is more than pretrain.epochs={self.pretrain.epochs}: no expert gets "
                f"so far. Use ahead={self.pretrain.epochs}, or more epochs."
            )

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> PoolState:
        return _ExpertsState(self, context)


class _ExpertsState(PoolState):
    """Stateless: what is lent follows from the iteration alone."""

    def __init__(self, spec: Experts, context: Context) -> None:
        self.spec, self.context = spec, context
        self.lent: tuple[int, int] | None = None
        self.slot = NetworkSlot(spec.network, context)
        self.trajectories = Trajectories(context, spec.network, spec.pretrain, spec.precision)
        parameters = self.slot.module.named_parameters()
        self.target = {name: torch.empty_like(weight) for name, weight in parameters}
        self.slot.net.target = self.target

    def network_at(self, iteration: int) -> NetworkView:
        choose = self.context.rng.choice
        starts = require_resolved(self.spec.pretrain.epochs) - require_resolved(self.spec.ahead) + 1
        chosen = (
            int(choose("expert", iteration, 0, len(self.trajectories), 1)),
            int(choose("expert epoch", iteration, 0, starts, 1)),
        )
        if chosen != self.lent:
            self.lent = chosen
            self._load(*chosen)
        return self.slot.net

    def _load(self, index: int, epoch: int) -> None:
        begun = self.trajectories.at(index, epoch)
        later = self.trajectories.at(index, epoch + require_resolved(self.spec.ahead))
        with torch.no_grad():
            for name, weight in self.slot.module.named_parameters():
                weight.copy_(begun[name], non_blocking=supports_async_copy(weight.device))
            for name, target in self.target.items():
                target.copy_(later[name], non_blocking=supports_async_copy(target.device))
