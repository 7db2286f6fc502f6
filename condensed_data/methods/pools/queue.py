"""IDM's queue of networks at every stage of a short training on real samples.

Zhao et al. (IDM), Improved Distribution Matching for Dataset Condensation, CVPR 2023,
https://arxiv.org/abs/2307.09742, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.batch import NetworkView
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_count
from condensed_data.methods.base import PoolState, SyntheticData
from condensed_data.methods.pools.network_slot import NetworkPool, NetworkSlot, load_training_state, training_state
from condensed_data.methods.pools.trained_network import real_batches
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, SGDTrainer, run_steps


@dataclass(frozen=True)
class Queue(NetworkPool):
    """A random network of the queue in each iteration; after it, some of the queue are trained a little.

    Networks are used in evaluation mode. `NetworkView.accuracy` is the running training accuracy: the fraction of all
    rows of its mini-batches since the last reset that the network classified correctly before the step, 0 for none.

    Deviation: the authors' code can use several networks per iteration; their commands use one, as here.

    Args:
        initial_size: networks at the start, at most `capacity`: the authors' 3, and one that joins in iteration 0.
        interval: iterations after which a new random network joins; 30 as published, 5 for CIFAR at ipc 1.
        capacity: of the queue; the oldest network leaves.
        trained_per_iteration: networks that are trained after each iteration.
        steps: SGD steps of each of these, on random real batches; 10 as published, 50 for CIFAR-100 at ipc 10.
        reset: iterations after which all running accuracies start again; None for never. The authors' code does so at
            every evaluation; at that moment all accuracies are 0.
        sgd: how they are trained; every network keeps its optimizer. Published: SGD at 0.01, momentum 0.9, weight
            decay 5e-4, batches of 256, no augmentation.
    """

    initial_size: int = 4
    interval: int | DataDefault = 30
    capacity: int | DataDefault = 100
    trained_per_iteration: int = 2
    steps: int | DataDefault = 10
    reset: int | DataDefault | None = 100
    sgd: SGDConfig = field(default=SGDConfig(0.01, 0.9, 5e-4))

    def __post_init__(self) -> None:
        for name in ("initial_size", "interval", "capacity", "trained_per_iteration", "steps"):
            check_count("Queue", name, getattr(self, name), or_default=name in ("interval", "capacity", "steps"))
        check_count("Queue", "reset", self.reset, optional=True, or_default=True)
        if not isinstance(self.capacity, DataDefault) and self.initial_size > self.capacity:
            raise ValueError(
                f"Queue(initial_size={self.initial_size}) must not exceed capacity={self.capacity}. Raise the capacity."
            )

    def start(self, context: Context) -> PoolState:
        return _QueueState(self, context)


@dataclass
class _Member:
    """One network of the queue."""

    index: int  # of the network in the run
    trainer: SGDTrainer
    correct: Tensor  # training rows since the last reset that were classified correctly, ()
    seen: int = 0  # all training rows since then

    @property
    def module(self) -> nn.Module:
        return self.trainer.module

    def state_dict(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "correct": int(self.correct),
            "seen": self.seen,
            **training_state(self.module, self.trainer.optimizer),
        }


class _QueueState(PoolState):
    def __init__(self, spec: Queue, context: Context) -> None:
        self.spec, self.context = spec, context
        self.slot = NetworkSlot(spec.network, context)
        self.slot.module.eval()
        self.accuracy = torch.zeros((), device=context.device)
        self.slot.net.accuracy = self.accuracy
        self.created = 0  # networks, including those that left
        self.loaded_at: int | None = None  # the iteration whose network is in the slot
        self.members: list[_Member] = []
        for _ in range(spec.initial_size):
            self._push()

    def network_at(self, iteration: int) -> NetworkView:
        if iteration != self.loaded_at:
            self.loaded_at = iteration
            chosen = self.context.rng.choice("queue look", iteration, 0, len(self.members), 1)
            member = self.members[int(chosen)]
            self.slot.module.load_state_dict(member.module.state_dict())
            self.accuracy.copy_(member.correct / max(member.seen, 1))
        return self.slot.net

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        count = min(self.spec.trained_per_iteration, len(self.members))
        for index in self.context.rng.choice("queue learn", iteration, 0, len(self.members), count).tolist():
            self._train(self.members[index], iteration)
        reset = require_resolved(self.spec.reset)
        if reset and (iteration + 1) % reset == 0:
            for member in self.members:
                member.correct, member.seen = torch.zeros_like(member.correct), 0
        if (iteration + 1) % require_resolved(self.spec.interval) == 0:
            self._push()

    def _train(self, member: _Member, iteration: int) -> None:
        rng = RandomStreams(self.context.rng.seed_for("queue", iteration, member.index))
        size, batch = len(self.context.real), self.spec.sgd.batch_size
        steps = range(require_resolved(self.spec.steps))
        indices = tuple(rng.choice("real", step, 0, size, min(batch, size)) for step in steps)
        results = run_steps(member.trainer, real_batches(self.context, indices), rng)
        correct = torch.cat([rows for _, rows in results])
        member.correct, member.seen = member.correct + correct.sum(), member.seen + len(correct)

    def _push(self) -> None:
        self.slot.reinitialize(self.context.rng.seed_for("network", self.created))
        self.loaded_at = None  # the slot was overwritten
        self.members = [*self.members, self._member(self.created)][-require_resolved(self.spec.capacity) :]
        self.created += 1

    def _member(self, index: int) -> _Member:
        trainer = self.slot.trainer(self.spec.sgd, deepcopy(self.slot.module))
        return _Member(index, trainer, torch.zeros((), dtype=torch.int64, device=self.context.device))

    def state_dict(self) -> dict[str, Any]:
        return {"created": self.created, "members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.created, self.loaded_at, self.members = state["created"], None, []
        for stored in state["members"]:
            member = self._member(stored["index"])
            member.correct, member.seen = member.correct + stored["correct"], stored["seen"]
            load_training_state(member.module, member.trainer.optimizer, stored)
            self.members.append(member)
