"""One condensation under way: all that changes, apart from the recipe that does not.

Each iteration, a pool lends a network, a sampler pairs real with synthetic samples, an augmentation is applied to
both, an objective turns (network, pair) into a number, and the synthetic data steps down its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from condensed_data import networks
from condensed_data.core.spec import require_resolved
from condensed_data.data.augment import Augment
from condensed_data.engine.distributed.gradient_exchange import (
    BLOCKS,
    GradientExchange,
    WorkUnit,
    chunks,
    partition,
    sync_rows,
)
from condensed_data.engine.distributed.work_plan import WorkPlan
from condensed_data.engine.prefetch import Prefetcher
from condensed_data.engine.step_inputs import StepInputs
from condensed_data.methods.base import (
    Loss,
    Pool,
    PoolState,
    Sampler,
    SamplerState,
    SyntheticData,
    TrainableLoss,
)
from condensed_data.methods.recipe import Recipe, Term
from condensed_data.methods.synthetic.soft_labels import SoftLabeledData
from condensed_data.training.context import Context

Meetings = dict[tuple[Sampler, Augment], StepInputs]


class CondensationRun:
    """One condensation under way: everything that changes, apart from the recipe that does not.

    Attributes:
        recipe: resolved.
        synthesis: what is learned.
        iteration: completed iterations, of `iterations`.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self.recipe, self.context, self.iteration = recipe, context, 0
        self.iterations = require_resolved(recipe.iterations)
        self.synthetic_data: SyntheticData = recipe.synthetic.start(context)
        if recipe.soft_labels:
            self.synthetic_data = SoftLabeledData(
                self.synthetic_data, context.real.num_classes, context.device
            )
        self.pool_states: dict[Pool, PoolState] = {}
        self.sampler_states: dict[Sampler, SamplerState] = {}
        self.losses: list[Loss] = []
        for term in recipe.terms:
            if term.sampler not in self.sampler_states:
                self.sampler_states[term.sampler] = term.sampler.start(context, self.synthetic_data)
            draw = self.sampler_states[term.sampler].draw(0, self.steps()[0])
            term.objective.check_sizes(draw.real_sizes, draw.synthetic_sizes)
        for term in recipe.terms:  # afterwards, because some pools train for hours when they start
            if term.pool not in self.pool_states:
                self.pool_states[term.pool] = term.pool.start(context)
            self.losses.append(term.objective.start(context))
        self.optimizer = recipe.optimizer.start(self.synthetic_data.learned) if recipe.terms else None
        self.early_stopping = recipe.stop.start() if recipe.stop else None
        self.pieces = 1  # parts that a share's gradient is accumulated from; more where memory ends
        self.in_blocks = context.ranks.is_partitioned  # where the recipe does not say how many
        self.asked_to_stop = self.stopping = False
        self._ahead = Prefetcher(self) if context.real.store.far_from(context.device) else None
        self._works: WorkPlan | None = None

    def step(self) -> Tensor:
        """One iteration: every class meets its real samples once. Returns the summed loss, a scalar on the device."""
        if self.optimizer is not None:
            self.recipe.optimizer.tune(self.optimizer, self.iteration)
        for pool_state in self.pool_states.values():
            pool_state.network_at(self.iteration)  # also where this process has nothing to look at
        total = self._own_steps() if self.work_plan.own_steps else self._steps_together()
        for pool_state in self.pool_states.values():
            pool_state.update(self.iteration, self.synthetic_data)
        for loss in self._learning_losses():
            loss.update(self.iteration)
        self.iteration += 1
        if self.early_stopping is not None:
            self.early_stopping.add(total)
        return total

    @property
    def finished(self) -> bool:
        """Whether the last iteration is done, or the loss has come to rest where the recipe looks for that."""
        return self.iteration >= self.iterations or (
            self.early_stopping is not None and self.early_stopping.reached
        )

    def _steps_together(self) -> Tensor:
        total = torch.zeros((), device=self.context.device)
        for work_plan in self.work_plan.steps:
            exchange = GradientExchange(
                self.synthetic_data, [share for share, _ in work_plan], self.context.ranks
            )
            for index, (share, owner) in enumerate(work_plan):
                if owner == self.context.ranks.rank:
                    exchange.put(index, *self.gradients(share))
            loss, stopping = exchange.meet(self.asked_to_stop)
            self.stopping = self.stopping or stopping
            self._descend()
            total = total + loss
        return total

    def _own_steps(self) -> Tensor:
        """Steps of a group each, this process's with a gradient, the others' without; rows meet afterwards."""
        ranks, learned, steps = self.context.ranks, self.synthetic_data.learned, self.work_plan.steps
        losses = torch.zeros(len(steps) + 1, device=self.context.device)
        losses[-1] = float(self.asked_to_stop and ranks.is_main)
        for number, ((share, owner),) in enumerate(steps):
            found = {name: torch.zeros_like(tensor) for name, tensor in learned.items()}
            if owner == ranks.rank:
                losses[number], found = self.gradients(share)
            for name, tensor in learned.items():
                tensor.grad = found[name]
            self._descend()
        assert self.optimizer is not None
        sync_rows(self.synthetic_data, self.optimizer, self.work_plan.owned, ranks)
        *merged, stop = ranks.all_reduce_disjoint(losses)
        self.stopping = self.stopping or bool(stop)
        return sum(merged, torch.zeros((), device=self.context.device))

    def _descend(self) -> None:
        assert self.optimizer is not None
        self.optimizer.step()
        self.synthetic_data.clamp()

    @property
    def steps_apart(self) -> bool:
        """Whether the steps of an iteration are of a group each, and do not touch the rows of other groups."""
        return (
            self.recipe.step_per == "class"
            and not self.synthetic_data.shared_across_groups
            and not self._learning_losses()
        )

    @property
    def work_plan(self) -> WorkPlan:
        """Who computes what of every iteration."""
        if self._works is None:
            self._works = WorkPlan(self)
        return self._works

    @property
    def blocks(self) -> int | None:
        """In how many blocks of groups a step is computed at most; None where all groups go through one forward."""
        return self.recipe.num_blocks or (BLOCKS if self.in_blocks else None)

    def steps(self) -> list[list[int]]:
        """The groups of every optimizer step of an iteration."""
        groups = range(self.context.real.num_groups)
        return [list(groups)] if self.recipe.step_per == "iteration" else [[group] for group in groups]

    def shares(self, groups: Sequence[int]) -> list[WorkUnit]:
        """What the step over these groups is computed in; the same for any number of processes."""
        everything = range(len(self.recipe.terms))
        if self.blocks is None or self.recipe.step_per == "class":
            return [WorkUnit(tuple(groups), tuple(everything), False)]
        separate = [term for term in everything if self.separates(term) and term not in self.learning]
        return partition(groups, self.blocks, separate, [term for term in everything if term not in separate])

    @property
    def learning(self) -> list[int]:
        """Numbers of the terms that learn themselves, whose state is rank 0's."""
        return [number for number, loss in enumerate(self.losses) if isinstance(loss, TrainableLoss)]

    @property
    def widest(self) -> tuple[int, ...]:
        """The most groups that are computed at once, before a share is cut into pieces."""
        return max((share.groups for share in self.shares(self.steps()[0])), key=len)

    def loss(self, groups: Sequence[int], terms: Sequence[int] | None = None) -> Tensor:
        """The differentiable loss of the coming iteration over these groups: all terms, or those with these numbers."""
        chosen = range(len(self.recipe.terms)) if terms is None else tuple(terms)
        meetings = self._meetings(groups, chosen)
        pools = {self.recipe.terms[number].pool for number in chosen}
        nets = {
            pool: pool_state.network_at(self.iteration)
            for pool, pool_state in self.pool_states.items()
            if pool in pools
        }
        pairs = {key: meeting.pair(self.context, self.synthetic_data) for key, meeting in meetings.items()}
        total = torch.zeros((), device=self.context.device)
        for number in chosen:
            term, loss = self.recipe.terms[number], self.losses[number]
            total = total + require_resolved(term.weight) * loss(
                nets[term.pool], pairs[term.sampler, term.augment]
            )
        return total

    def _meetings(self, groups: Sequence[int], terms: Sequence[int]) -> Meetings:
        """What is drawn of the coming iteration for these groups and terms."""
        chosen = [self.recipe.terms[number] for number in terms]
        return {(term.sampler, term.augment): self._meeting(term, groups) for term in chosen}

    def _meeting(self, term: Term, groups: Sequence[int]) -> StepInputs:
        fetched = None
        if self._ahead is None:
            draw = self.sampler_states[term.sampler].draw(self.iteration, groups)
        else:
            draw, fetched = self._ahead.take(term.sampler, groups)
        blocks = groups if draw.steps is None else draw.steps
        applied = term.augment.draw(self.context.rng, self.iteration, blocks, self.context.real.sample_shape)
        return StepInputs(self.iteration, draw, self.context.real.labels[draw.real], applied, fetched)

    def gradients(self, share: WorkUnit) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a share and its gradient in the learned tensors, accumulated piece by piece."""
        while True:
            try:
                return self._gradients(share)
            except torch.OutOfMemoryError:
                self._halve(share.groups, share.terms)

    def _gradients(self, share: WorkUnit) -> tuple[Tensor, dict[str, Tensor]]:
        total = torch.zeros((), device=self.context.device)
        found: dict[str, Tensor] = {}
        learned = self.synthetic_data.learned
        for piece in chunks(share.groups, self.pieces):
            loss = self.loss(piece, share.terms)
            # Not loss.backward(): that would also fill the gradients of the networks. Terms of one share need not
            # reach everything: step sizes, say.
            gradients = torch.autograd.grad(loss, list(learned.values()), materialize_grads=True)
            for name, gradient in zip(learned, gradients, strict=True):
                found[name] = gradient if name not in found else found[name].add_(gradient)
            total += loss.detach()
        return total, found

    def _halve(self, groups: Sequence[int], terms: Sequence[int] | None = None) -> None:
        """Go on with half as many groups at once, after the device ran out of memory.

        Raises:
            torch.OutOfMemoryError: where nothing is left to halve, or the objective needs all groups together.
        """
        chosen = range(len(self.recipe.terms)) if terms is None else terms
        if self.pieces >= len(groups) or not all(map(self.separates, chosen)):
            raise torch.OutOfMemoryError(
                "The device's memory does not hold one step. Use a smaller sampler.batch, ipc or network, or "
                "device='cpu'."
            )
        self.pieces *= 2
        torch.cuda.empty_cache()

    @property
    def separable(self) -> bool:
        """Whether the loss is a sum over groups, so that its gradient can be accumulated group by group."""
        return all(map(self.separates, range(len(self.recipe.terms))))

    def separates(self, number: int) -> bool:
        """Whether the loss of this term is a sum over groups."""
        term = self.recipe.terms[number]
        coupled = networks.couples_samples(self.pool_states[term.pool].network_at(self.iteration).module)
        return term.objective.separable and not coupled

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run of the same recipe and source needs to go on to the same bits."""
        return {
            "iteration": self.iteration,
            "synthesis": self.synthetic_data.state_dict(),
            "optimizer": self.optimizer.state_dict() if self.optimizer else {},
            "lenders": [pool_state.state_dict() for pool_state in self.pool_states.values()],
            "drawers": [sampler_state.state_dict() for sampler_state in self.sampler_states.values()],
            "losses": [loss.state_dict() for loss in self._learning_losses()],
            "plateau": self.early_stopping.state_dict() if self.early_stopping else {},
            "in_blocks": self.in_blocks,
        }

    def _learning_losses(self) -> list[TrainableLoss]:
        losses: list[object] = [*self.losses]
        return [loss for loss in losses if isinstance(loss, TrainableLoss)]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.iteration, self._works = state["iteration"], None
        # begun by several processes: the same bits go on
        self.in_blocks = self.in_blocks or state["in_blocks"]
        self.synthetic_data.load_state_dict(state["synthesis"])
        if self.optimizer:
            self.optimizer.load_state_dict(state["optimizer"])
        for parts, stored in ((self.pool_states, "lenders"), (self.sampler_states, "drawers")):
            for part, part_state in zip(parts.values(), state[stored], strict=True):
                part.load_state_dict(part_state)
        for loss, loss_state in zip(self._learning_losses(), state["losses"], strict=True):
            loss.load_state_dict(loss_state)
        if self.early_stopping:
            self.early_stopping.load_state_dict(state["plateau"])
