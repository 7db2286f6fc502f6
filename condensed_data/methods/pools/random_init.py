"""Networks that are new and random every few iterations, never trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from condensed_data.core.spec import DataDefault
from condensed_data.core.validation import check_count
from condensed_data.methods.base import InitialState, NetworkView, Pool, PoolState
from condensed_data.methods.pools.module_slot import NetworkSlot, copied
from condensed_data.networks.default import DefaultNetwork, check_network
from condensed_data.training.context import Context


@dataclass(frozen=True)
class RandomInit(Pool):
    """A new random network every `period` iterations, as in DM (every iteration), or one for the whole run.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        period: iterations a network lives; None for the whole run, as in DD's fixed initialization.
        member: tells pools apart that lend several networks for one iteration, a term each, as DD averages over.

    Raises:
        ValueError: unless `period` is positive and `member` at least 0.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    period: int | None = 1
    member: int = 0

    def __post_init__(self) -> None:
        if self.period is not None:
            check_count("RandomInit", "period", self.period)
        check_count("RandomInit", "member", self.member, 0)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> PoolState:
        return _RandomInitState(self, context)


class _RandomInitState(PoolState):
    def __init__(self, spec: RandomInit, context: Context) -> None:
        self.spec, self.context = spec, context
        self.number: int | None = None
        self.slot = NetworkSlot(spec.network, context)

    def network_at(self, iteration: int) -> NetworkView:
        number = iteration // self.spec.period if self.spec.period else 0
        if number != self.number:
            self.number = number
            member = [self.spec.member] if self.spec.member else []
            self.slot.renew(self.context.rng.seed_for("network", number, *member))
        return self.slot.net

    def initial(self) -> InitialState:
        return (
            InitialState() if self.spec.period else InitialState("stored", copied(self.network_at(0).module))
        )

    def state_dict(self) -> dict[str, Any]:
        return {}  # the network follows from the iteration alone
