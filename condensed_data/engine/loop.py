"""The loop: draw, compare, differentiate, step, update the networks, report.

`CondensationRun` is one run of a recipe; `CondensationRun.step` is one iteration of the papers' pseudo-code. Beside it
stand the run state of the parts (`parts.py`), gradients in chunks (`chunked_gradient.py`), prefetching (`prefetch.py`),
several processes (`distributed/`) and checkpoints (`checkpointing.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.spec import require_resolved
from condensed_data.engine.callbacks.progress import Callback, Callbacks
from condensed_data.engine.chunked_gradient import ChunkedGradient
from condensed_data.engine.distributed.planner import plan_work
from condensed_data.engine.distributed.stepping import Stepper
from condensed_data.engine.distributed.work_plan import WorkPlan
from condensed_data.engine.divergence import DivergenceGuard
from condensed_data.engine.pace import Pace
from condensed_data.engine.parts import StartedParts
from condensed_data.engine.prefetch import Prefetcher
from condensed_data.engine.step_inputs import StepInputs
from condensed_data.methods.base import TrainableLoss
from condensed_data.methods.recipe import Recipe, Term
from condensed_data.training.context import Context


class CondensationRun:
    """One run of a recipe: the state of its parts, and the iteration that changes it.

    Args:
        recipe: resolved.
        context: the real samples, the random draws, the device and the processes.

    Attributes:
        stop_requested: called in every iteration; True on rank 0 stops all processes after that iteration.
        stopping: whether the run stops after the completed iteration.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self.recipe, self.context, self.iterations = recipe, context, require_resolved(recipe.iterations)
        self.parts = parts = StartedParts(recipe, context)
        self.synthetic_data, self.optimizer, self.losses = parts.synthetic_data, parts.optimizer, parts.losses
        self.sampler_states, self.pool_states = parts.sampler_states, parts.pool_states
        self.gradient = ChunkedGradient(self.loss, parts.synthetic_data.learned, parts.is_separable, context.device)
        self.in_blocks = context.ranks.is_partitioned  # used if recipe.num_blocks is None
        self.stop_requested, self.stopping = (lambda: False), False
        self._prefetcher: Prefetcher | None = None
        if context.real.store.needs_transfer(context.device):
            self._prefetcher = Prefetcher(parts.sampler_states, context.real)

    def step(self) -> Tensor:
        """One iteration, in which every class is compared with its real samples once; returns the summed loss."""
        parts, total = self.parts, torch.zeros((), device=self.context.device)
        for pool_state in self.pool_states.values():
            pool_state.network_at(self.iteration)  # on every process, whether or not it computes with it
        if self.optimizer is not None:
            self.recipe.optimizer.tune(self.optimizer, self.iteration, self.iterations)
            total, self.stopping = self.stepper.step(self.stop_requested())
        for pool_state in self.pool_states.values():
            pool_state.update(self.iteration, self.synthetic_data)
        parts.iteration += 1
        if parts.plateau is not None and self.optimizer is not None:
            parts.plateau.add(total, self.optimizer)
        if parts.early_stopping is not None:
            parts.early_stopping.add(total)
        return total

    def _update_losses(self, terms: Collection[int]) -> None:
        """Train the losses of these terms, after a step with them."""
        for loss in (self.losses[number] for number in terms):
            if isinstance(loss, TrainableLoss):
                loss.update(self.iteration)

    def loss(self, groups: Sequence[int], terms: Sequence[int]) -> Tensor:
        """The differentiable loss of the coming iteration over these groups, summed over terms, given by index."""
        chosen = [self.recipe.terms[number] for number in terms]
        inputs = {(term.sampler, term.augment): self.draw(term, groups) for term in chosen}
        networks = {term.pool: self.pool_states[term.pool].network_at(self.iteration) for term in chosen}
        pairs = {key: drawn.materialize(self.context, self.synthetic_data) for key, drawn in inputs.items()}
        total = torch.zeros((), device=self.context.device)
        for number, term in zip(terms, chosen, strict=True):
            value = self.losses[number](networks[term.pool], pairs[term.sampler, term.augment])
            total = total + require_resolved(term.weight) * value
        return total

    def draw(self, term: Term, groups: Sequence[int]) -> StepInputs:
        """The samples and the augmentation of a term in the coming iteration."""
        real, rows = self.context.real, None
        if self._prefetcher is None:
            indices = self.sampler_states[term.sampler].draw(self.iteration, groups)
        else:
            order = self.plan.forward_order(self.gradient.num_chunks)
            indices, rows = self._prefetcher.get(term.sampler, self.iteration, groups, order)
        blocks = groups if indices.steps is None else indices.steps
        augment = term.augment.draw(self.context.rng, self.iteration, blocks, real.sample_shape)
        return StepInputs(self.iteration, indices, real.labels[indices.real], augment, rows)

    @property
    def stepper(self) -> Stepper:
        """Takes the steps of the coming iteration."""
        assert self.optimizer is not None
        ranks, update = self.context.ranks, self._update_losses
        return Stepper(self.plan, self.gradient, self.synthetic_data, self.optimizer, ranks, update)

    @property
    def iteration(self) -> int:
        """Completed iterations."""
        return self.parts.iteration

    @property
    def finished(self) -> bool:
        """Whether the last iteration is done, or early stopping has ended the run."""
        early_stopping = self.parts.early_stopping
        return self.iteration >= self.iterations or (early_stopping is not None and early_stopping.reached)

    @cached_property
    def plan(self) -> WorkPlan:
        """The work units of an iteration and the processes that compute them."""
        groups, ranks = self.context.real.num_groups, self.context.ranks
        return plan_work(self.recipe, self.parts, groups, ranks, in_blocks=self.in_blocks)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run of the same recipe and source needs to continue to the same bits."""
        return {"in_blocks": self.in_blocks, **self.parts.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.in_blocks = self.in_blocks or state["in_blocks"]  # a run that several processes started stays in blocks
        self.__dict__.pop("plan", None)  # computed anew
        self.parts.load_state_dict(state)


def condense(run: CondensationRun, callbacks: Sequence[Callback] = ()) -> None:
    """Run to the last iteration of the recipe.

    Raises:
        DivergedError: when the loss is NaN, infinite or 1,000 times the largest of the first ten; the run then
            holds the last good synthetic data.
        KeyboardInterrupt: after a whole iteration, if `run.stop_requested()` returned True.
    """
    context, listeners, progress = run.context, Callbacks(callbacks), None
    every_iteration = context.device.type == "cpu" or context.ranks.is_distributed
    pace = Pace(run.iteration, run.iterations, run.recipe.name, every_iteration)
    lr = require_resolved(run.recipe.optimizer.lr)
    guard = DivergenceGuard(run.synthetic_data, run.iteration, lr, context.precision)
    if not run.finished:
        listeners.on_start(pace.start())
    while not run.finished:
        loss = run.step()
        if pace.is_due() or run.finished or run.stopping:
            value = float(loss)
            guard.check(value, run.iteration)
            progress = pace.progress(run.iteration, value)
            listeners.on_iteration(progress)
        if run.stopping:
            raise KeyboardInterrupt(
                f"Stopped after iteration {run.iteration:,} of {run.iterations:,}. "
                "Run the same command again to continue."
            )
    if progress is not None:
        listeners.on_end(progress)
