"""FRePo's pool: networks of all ages, trained on the synthetic samples while these are learned.

Zhou, Nezhadarya and Ba, NeurIPS 2022, https://arxiv.org/abs/2206.00719, algorithm 1, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from condensed_data.core.batch import NetworkView
from condensed_data.core.rng import RandomStreams
from condensed_data.core.validation import check_count
from condensed_data.methods.base import PoolState, SyntheticData
from condensed_data.methods.pools.network_slot import NetworkPool, NetworkSlot, load_training_state, training_state
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, SGDTrainer, run_steps


@dataclass(frozen=True)
class Online(NetworkPool):
    """A random network of the pool in each iteration, which then takes one training step on the synthetic samples.

    A network that has been trained for more than `updates` steps is replaced by a new one instead. At the start the
    networks count as trained for 0, 1/n, 2/n, ... of the updates, so that they are replaced at different times. The
    embedding is that of evaluation mode, as in the authors' code: batch normalization uses its running statistics.

    Args:
        networks: n, their number; 10 as published.
        updates: after which a network is replaced; 100 as published.
        sgd: how they are trained; a step takes `batch_size` random samples, or all of fewer. Published: Adam at 3e-4,
            squared error, up to 1,000 samples, no augmentation.
    """

    networks: int = 10
    updates: int = 100
    sgd: SGDConfig = field(default=SGDConfig(3e-4, batch_size=1000, optimizer="adam", loss="squared_error"))
    trains_on_synthetic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("Online", "networks", self.networks)
        check_count("Online", "updates", self.updates)

    def start(self, context: Context) -> PoolState:
        return _OnlineState(self, context)


@dataclass
class _Member:
    trainer: SGDTrainer
    updates: int

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, **training_state(self.trainer.module, self.trainer.optimizer)}


class _OnlineState(PoolState):
    def __init__(self, spec: Online, context: Context) -> None:
        self.spec, self.context = spec, context
        self.slot = NetworkSlot(spec.network, context)
        self.slot.module.eval()
        self.created, self.loaded_at = 0, -1
        self.members = [self._new(spec.updates // spec.networks * number) for number in range(spec.networks)]

    def network_at(self, iteration: int) -> NetworkView:
        if iteration != self.loaded_at:
            self.loaded_at = iteration
            self.slot.load(self.members[self._chosen(iteration)].trainer.module.state_dict())
        return self.slot.net

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        chosen = self._chosen(iteration)
        if self.members[chosen].updates > self.spec.updates:
            self.members[chosen] = self._new(0)
            return
        rng, rows = RandomStreams(self.context.rng.seed_for("online", iteration)), len(synthetic_data.labels)
        index = torch.arange(rows)
        if rows > self.spec.sgd.batch_size:
            index = rng.choice("rows", 0, 0, rows, self.spec.sgd.batch_size)
        with torch.no_grad():
            batch = synthetic_data.decode(index), synthetic_data.targets(index)
        run_steps(self.members[chosen].trainer, [batch], rng)
        self.members[chosen].updates += 1

    def _chosen(self, iteration: int) -> int:
        return int(self.context.rng.choice("online look", iteration, 0, len(self.members), 1))

    def _new(self, updates: int) -> _Member:
        """A new random network that counts as trained for so many updates."""
        self.slot.reinitialize(self.context.rng.seed_for("network", self.created))
        self.created, self.loaded_at = self.created + 1, -1  # the slot was overwritten
        return _Member(self.slot.trainer(self.spec.sgd, deepcopy(self.slot.module)), updates)

    def state_dict(self) -> dict[str, Any]:
        return {"created": self.created, "members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.created, self.loaded_at = state["created"], -1
        for member, stored in zip(self.members, state["members"], strict=True):
            member.updates = stored["updates"]
            load_training_state(member.trainer.module, member.trainer.optimizer, stored)
