"""Randomly initialized networks that are never trained, as in DM and DD."""

from __future__ import annotations

from dataclasses import dataclass

from condensed_data.core.validation import check_count
from condensed_data.methods.base import InitialState, PoolState
from condensed_data.methods.pools.network_slot import NetworkPool, NetworkSlot, StatelessPoolState, cpu_state_dict
from condensed_data.training.context import Context


@dataclass(frozen=True)
class RandomInit(NetworkPool):
    """A new random network every `period` iterations, as in DM (every iteration), or one for the whole run.

    Args:
        period: iterations between two initializations; None for one network, as in DD's fixed initialization.
        member: distinguishes pools that provide different networks in the same iteration, one per term, such as
            those that DD averages over.
    """

    period: int | None = 1
    member: int = 0

    def __post_init__(self) -> None:
        check_count("RandomInit", "period", self.period, optional=True)
        check_count("RandomInit", "member", self.member, 0)

    def start(self, context: Context) -> PoolState:
        return _RandomInitState(self, context)


class _RandomInitState(StatelessPoolState):
    def __init__(self, spec: RandomInit, context: Context) -> None:
        self.spec, self.context = spec, context
        self.slot = NetworkSlot(spec.network, context)

    def _key(self, iteration: int) -> tuple[int]:
        return (iteration // self.spec.period if self.spec.period else 0,)

    def _load(self, index: int) -> None:
        member = [self.spec.member] if self.spec.member else []
        self.slot.reinitialize(self.context.rng.seed_for("network", index, *member))

    def initial_state(self) -> InitialState:
        if self.spec.period:
            return InitialState()
        return InitialState("stored", cpu_state_dict(self.network_at(0).module))
