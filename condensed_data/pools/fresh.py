"""Networks that are new and random every few sweeps, never trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from condensed_data.parts import Context, Lender, Net, Pool
from condensed_data.pools.lending import Loan, UsualNetwork, check_network
from condensed_data.spec import Rule


@dataclass(frozen=True)
class Fresh(Pool):
    """A new random network every `period` sweeps, as in DM (every sweep).

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        period: sweeps a network lives.

    Raises:
        ValueError: unless `period` is positive.
    """

    network: str | Callable[..., nn.Module] | Rule = field(default_factory=UsualNetwork)
    period: int = 1

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"Fresh(period={self.period}) must be at least 1.")

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> Lender:
        return _Fresh(self, context)


class _Fresh(Lender):
    def __init__(self, spec: Fresh, context: Context) -> None:
        self.spec, self.context = spec, context
        self.number: int | None = None
        self.loan = Loan(spec.network, context)

    def lend(self, sweep: int) -> Net:
        number = sweep // self.spec.period
        if number != self.number:
            self.number = number
            self.loan.renew(self.context.streams.child("network", number))
        return self.loan.net

    def state_dict(self) -> dict[str, Any]:
        return {}  # the network follows from the sweep alone
