"""Experts: networks trained on the real samples, and where their training had led them a few epochs later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from condensed_data.core.device import in_turn
from condensed_data.core.spec import Rule, concrete
from condensed_data.data.augment import PublishedOps, Siamese
from condensed_data.methods.base import Context, Lender, Net, Pool
from condensed_data.methods.pools.expert_trajectories import PRECISIONS, Trajectories
from condensed_data.methods.pools.module_slot import Loan, UsualNetwork, check_network
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import Descent, check_count

_PUBLISHED = Pretraining(
    epochs=21, networks=100, descent=Descent(0.01, augment=Siamese(PublishedOps(), per_sample=True))
)


@dataclass(frozen=True)
class Experts(Pool):
    """Every iteration a random expert at a random epoch t; `Net.target` is where it was `ahead` epochs later.

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

    network: str | Callable[..., nn.Module] | Rule = field(default_factory=UsualNetwork)
    pretrain: Pretraining = field(default=_PUBLISHED)
    ahead: int | Rule = 2
    precision: str = "fp16"
    knows_targets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("Experts", "ahead", self.ahead)
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"Experts(precision={self.precision!r}) is unknown; known: {', '.join(PRECISIONS)}."
            )
        rules = isinstance(self.ahead, Rule) or isinstance(self.pretrain.epochs, Rule)
        if not rules and self.ahead > self.pretrain.epochs:  # type: ignore[operator]
            raise ValueError(
                f"Experts(ahead={self.ahead}) is more than pretrain.epochs={self.pretrain.epochs}: no expert gets "
                f"so far. Use ahead={self.pretrain.epochs}, or more epochs."
            )

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> Lender:
        return _Experts(self, context)


class _Experts(Lender):
    """Stateless: what is lent follows from the iteration alone."""

    def __init__(self, spec: Experts, context: Context) -> None:
        self.spec, self.context = spec, context
        self.lent: tuple[int, int] | None = None
        self.loan = Loan(spec.network, context)
        self.trajectories = Trajectories(context, spec.network, spec.pretrain, spec.precision)
        parameters = self.loan.module.named_parameters()
        self.target = {name: torch.empty_like(weight) for name, weight in parameters}
        self.loan.net.target = self.target

    def lend(self, iteration: int) -> Net:
        choose = self.context.streams.choose
        starts = concrete(self.spec.pretrain.epochs) - concrete(self.spec.ahead) + 1
        chosen = (
            int(choose("expert", iteration, 0, len(self.trajectories), 1)),
            int(choose("expert epoch", iteration, 0, starts, 1)),
        )
        if chosen != self.lent:
            self.lent = chosen
            self._load(*chosen)
        return self.loan.net

    def _load(self, index: int, epoch: int) -> None:
        begun = self.trajectories.at(index, epoch)
        later = self.trajectories.at(index, epoch + concrete(self.spec.ahead))
        with torch.no_grad():
            for name, weight in self.loan.module.named_parameters():
                weight.copy_(begun[name], non_blocking=in_turn(weight.device))
            for name, target in self.target.items():
                target.copy_(later[name], non_blocking=in_turn(target.device))
