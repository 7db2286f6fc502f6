"""The optimizer steps of one iteration, whichever process computes their gradients."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from condensed_data.core.process_group import ProcessGroup
from condensed_data.engine.distributed.gradient_exchange import GradientExchange, sync_rows
from condensed_data.engine.distributed.work_plan import WorkPlan, WorkUnit
from condensed_data.methods.base import SyntheticData

Gradient = Callable[[WorkUnit], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Stepper:
    """Takes the optimizer steps of an iteration.

    Attributes:
        plan: which process of `ranks` computes what.
        gradient: work unit -> (loss, gradient of every learned tensor).
        synthetic_data: what is learned, by `optimizer`.
        after_step: called with the numbers of the terms of every step, after it; only if processes step together.
    """

    plan: WorkPlan
    gradient: Gradient
    synthetic_data: SyntheticData
    optimizer: torch.optim.Optimizer
    ranks: ProcessGroup
    after_step: Callable[[Collection[int]], None]

    def step(self, stop_requested: bool = False) -> tuple[Tensor, bool]:
        """Take all steps of one iteration.

        Returns:
            The summed loss, a scalar on the device; and whether all processes stop after this iteration, because rank
            0 was asked to.
        """
        result = self._independently(stop_requested) if self.plan.independent else self._jointly(stop_requested)
        self.synthetic_data.clamp()  # once an iteration, as the authors of DANCE and NCFM do
        return result

    def _jointly(self, stop_requested: bool) -> tuple[Tensor, bool]:
        """Every process takes every step, with the gradient of all processes."""
        total, stopping = torch.zeros((), device=self.synthetic_data.device), False
        for step in self.plan.steps:
            exchange = GradientExchange(self.synthetic_data, [unit for unit, _ in step], self.ranks)
            for index, (unit, owner) in enumerate(step):
                if owner == self.ranks.rank:
                    exchange.put(index, *self.gradient(unit))
            loss, stop = exchange.finish(stop_requested)
            stopping = stopping or stop
            self.optimizer.step()
            self.after_step({term for unit, _ in step for term in unit.terms})
            total = total + loss
        return total, stopping

    def _independently(self, stop_requested: bool) -> tuple[Tensor, bool]:
        """Every process takes its own groups' steps with a gradient and the others' without; then rows are synced."""
        learned, steps = self.synthetic_data.learned, self.plan.steps
        losses = torch.zeros(len(steps) + 1, device=self.synthetic_data.device)
        losses[-1] = float(stop_requested and self.ranks.is_main)
        for number, ((unit, owner),) in enumerate(steps):
            gradients = {name: torch.zeros_like(tensor) for name, tensor in learned.items()}
            if owner == self.ranks.rank:
                losses[number], gradients = self.gradient(unit)
            for name, tensor in learned.items():
                tensor.grad = gradients[name]
            self.optimizer.step()
        sync_rows(self.synthetic_data, self.optimizer, self.plan.own_groups, self.ranks)
        *reduced, stop = self.ranks.all_reduce_disjoint(losses)
        return sum(reduced, torch.zeros((), device=losses.device)), bool(stop)
