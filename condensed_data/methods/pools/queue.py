"""A queue of networks in every stage of a short training on real samples.

Zhao et al. (IDM), Improved Distribution Matching for Dataset Condensation, CVPR 2023,
https://arxiv.org/abs/2307.09742, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault
from condensed_data.core.validation import check_count
from condensed_data.methods.base import NetworkView, Pool, PoolState, SyntheticData
from condensed_data.methods.pools.inner_loop import real_batches
from condensed_data.methods.pools.module_slot import NetworkSlot
from condensed_data.networks.default import DefaultNetwork, check_network
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, SGDTrainer, run_steps


@dataclass(frozen=True)
class Queue(Pool):
    """One random network of the queue looks each iteration; afterwards some of the queue learn a little.

    Networks look in evaluation mode. `NetworkView.accuracy` is the share of all training rows so far that the network
    classified correctly when they came, 0 for one that was never trained.

    Deviation: the authors can let several networks look in one iteration; their commands use one, as here.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        start_with: networks at the beginning.
        interval: iterations after which a new random network joins; 30 as published, 5 for one sample per class.
        capacity: of the queue; the oldest network leaves.
        fetched: networks that are trained after each iteration.
        steps: on random real batches that each of them takes; 10 as published, 50 for CIFAR-100 at ipc 10.
        descent: the steps; every network keeps its optimizer. Published: SGD at 0.01, momentum 0.9, weight decay
            5e-4, batches of 256, no augmentation.

    Raises:
        ValueError: unless all numbers are positive and `start_with` is at most `capacity`.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    start_with: int = 3
    interval: int | DataDefault = 30
    capacity: int = 100
    fetched: int = 2
    steps: int | DataDefault = 10
    sgd: SGDConfig = field(default=SGDConfig(0.01, 0.9, 5e-4))

    def __post_init__(self) -> None:
        for name in ("start_with", "interval", "capacity", "fetched", "steps"):
            check_count("Queue", name, getattr(self, name))
        if self.start_with > self.capacity:
            raise ValueError(
                f"Queue(start_with={self.start_with}) is more than its capacity={self.capacity}. Raise the capacity."
            )

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> PoolState:
        return _QueueState(self, context)


@dataclass
class _Member:
    """One network of the queue."""

    number: int
    descender: SGDTrainer
    hits: Tensor
    seen: int = 0

    @property
    def module(self) -> nn.Module:
        return self.descender.module

    def state(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "hits": int(self.hits),
            "seen": self.seen,
            "network": self.module.state_dict(),
            "optimizer": self.descender.optimizer.state_dict(),
        }


class _QueueState(PoolState):
    def __init__(self, spec: Queue, context: Context) -> None:
        self.spec, self.context = spec, context
        self.slot = NetworkSlot(spec.network, context)
        self.slot.module.eval()
        self.accuracy = torch.zeros((), device=context.device)
        self.slot.net.accuracy = self.accuracy
        self.pushed = 0
        self.lent: int | None = None
        self.members: list[_Member] = []
        for _ in range(spec.start_with):
            self._push()

    def network_at(self, iteration: int) -> NetworkView:
        if iteration != self.lent:
            self.lent = iteration
            chosen = self.context.rng.choice("queue look", iteration, 0, len(self.members), 1)
            member = self.members[int(chosen)]
            self.slot.module.load_state_dict(member.module.state_dict())
            self.accuracy.copy_(member.hits / max(member.seen, 1))
        return self.slot.net

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        count = min(self.spec.fetched, len(self.members))
        for index in self.context.rng.choice("queue learn", iteration, 0, len(self.members), count).tolist():
            self._train(self.members[index], iteration)
        assert not isinstance(self.spec.interval, DataDefault)
        if (iteration + 1) % self.spec.interval == 0:
            self._push()

    def _train(self, member: _Member, iteration: int) -> None:
        assert not isinstance(self.spec.steps, DataDefault)
        rng = RandomStreams(self.context.rng.seed_for("queue", iteration, member.number))
        size, batch = len(self.context.real), self.spec.sgd.batch_size
        indices = tuple(
            rng.choice("real", step, 0, size, min(batch, size)) for step in range(self.spec.steps)
        )
        steps = run_steps(member.descender, real_batches(self.context, indices), rng)
        hits = torch.cat([right for _, right in steps])
        member.hits, member.seen = member.hits + hits.sum(), member.seen + len(hits)

    def _push(self) -> None:
        self.slot.renew(self.context.rng.seed_for("network", self.pushed))
        self.lent = None  # what was lent is overwritten
        self.members = [*self.members, self._member(self.pushed)][-self.spec.capacity :]
        self.pushed += 1

    def _member(self, number: int) -> _Member:
        real, module = self.context.real, deepcopy(self.slot.module)
        descender = SGDTrainer(
            module, self.spec.sgd, real.num_classes, real.sample_shape, self.context.precision
        )
        return _Member(number, descender, torch.zeros((), dtype=torch.int64, device=self.context.device))

    def state_dict(self) -> dict[str, Any]:
        return {"pushed": self.pushed, "members": [member.state() for member in self.members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.pushed, self.lent, self.members = state["pushed"], None, []
        for stored in state["members"]:
            member = self._member(stored["number"])
            member.hits, member.seen = member.hits + stored["hits"], stored["seen"]
            member.module.load_state_dict(stored["network"])
            member.descender.optimizer.load_state_dict(stored["optimizer"])
            self.members.append(member)
