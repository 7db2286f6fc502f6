"""One condensation under way: all that changes, apart from the recipe that does not.

Each sweep, a pool lends a network, a sampler pairs real with synthetic samples, an augmentation is applied to
both, an objective turns (network, pair) into a number, and the synthetic data steps down its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from condensed_data import networks
from condensed_data.parts import (
    Augment,
    Batch,
    Context,
    Draw,
    Drawer,
    LearningLoss,
    Lender,
    Loss,
    Pair,
    Pool,
    Sampler,
    Synthesis,
)
from condensed_data.recipe import Recipe, Term
from condensed_data.soft_labels import SoftSynthesis
from condensed_data.spec import concrete


class Run:
    """One condensation under way: everything that changes, apart from the recipe that does not.

    Attributes:
        recipe: resolved.
        synthesis: what is learned.
        sweep: completed sweeps, of `sweeps`.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self.recipe, self.context, self.sweep = recipe, context, 0
        self.sweeps = concrete(recipe.sweeps)
        self.synthesis: Synthesis = recipe.synthetic.start(context)
        if recipe.soft_labels:
            self.synthesis = SoftSynthesis(self.synthesis, context.real.num_classes, context.device)
        self.lenders: dict[Pool, Lender] = {}
        self.drawers: dict[Sampler, Drawer] = {}
        self.losses: list[Loss] = []
        for term in recipe.terms:
            if term.sampler not in self.drawers:
                self.drawers[term.sampler] = term.sampler.start(context, self.synthesis)
            draw = self.drawers[term.sampler].draw(0, self.blocks()[0])
            term.objective.check_sizes(draw.real_sizes, draw.synthetic_sizes)
        for term in recipe.terms:  # afterwards, because some pools train for hours when they start
            if term.pool not in self.lenders:
                self.lenders[term.pool] = term.pool.start(context)
            self.losses.append(term.objective.start(context))
        self.optimizer = recipe.optimizer.start(self.synthesis.learned) if recipe.terms else None
        self.plateau = recipe.stop.start() if recipe.stop else None
        self.pieces = 1  # parts that a step's gradient is accumulated from; more where memory ends
        self._ahead = _Ahead(self) if context.real.store.far_from(context.device) else None

    def step(self) -> Tensor:
        """One sweep: every class meets its real samples once. Returns the summed loss, a scalar on the device."""
        total = torch.zeros((), device=self.context.device)
        if self.optimizer is not None:
            self.recipe.optimizer.tune(self.optimizer, self.sweep)
        for groups in self.blocks():
            total += self._descend(groups)
        for lender in self.lenders.values():
            lender.learn(self.sweep, self.synthesis)
        for loss in self._learning_losses():
            loss.learn(self.sweep)
        self.sweep += 1
        if self.plateau is not None:
            self.plateau.add(total)
        return total

    @property
    def finished(self) -> bool:
        """Whether the last sweep is done, or the loss has come to rest where the recipe looks for that."""
        return self.sweep >= self.sweeps or (self.plateau is not None and self.plateau.reached)

    def blocks(self) -> list[list[int]]:
        """The groups of every optimiser step of a sweep."""
        groups = range(self.context.real.num_groups)
        return [list(groups)] if self.recipe.step == "sweep" else [[group] for group in groups]

    def loss(self, groups: Sequence[int]) -> Tensor:
        """The differentiable loss of the coming sweep over these groups."""
        nets = {pool: lender.lend(self.sweep) for pool, lender in self.lenders.items()}
        pairs: dict[tuple[Sampler, Augment], Pair] = {}
        total = torch.zeros((), device=self.context.device)
        for term, loss in zip(self.recipe.terms, self.losses, strict=True):
            key = (term.sampler, term.augment)
            if key not in pairs:
                pairs[key] = self._pair(term, groups)
            total = total + concrete(term.weight) * loss(nets[term.pool], pairs[key])
        return total

    def _pair(self, term: Term, groups: Sequence[int]) -> Pair:
        real, synthesis = self.context.real, self.synthesis
        if self._ahead is None:
            draw = self.drawers[term.sampler].draw(self.sweep, groups)
            rows = real[draw.real]
        else:
            draw, rows = self._ahead.take(term.sampler, groups)
        blocks = groups if draw.steps is None else draw.steps
        applied = term.augment.draw(self.context.streams, self.sweep, blocks, real.sample_shape)
        labels = real.labels[draw.real].to(self.context.device, non_blocking=True)
        first = Batch(rows.to(self.context.device, non_blocking=True), labels, draw.real_sizes)
        second = Batch(
            synthesis.decode(draw.synthetic), synthesis.targets(draw.synthetic), draw.synthetic_sizes
        )
        if draw.steps is None:
            first = replace(first, x=applied(first))
        return Pair(first, replace(second, x=applied(second)), synthesis.step_sizes, self.sweep)

    def _descend(self, groups: Sequence[int]) -> Tensor:
        """One optimiser step on the summed loss of these groups; its detached loss."""
        assert self.optimizer is not None
        while True:
            try:
                total = self._gradients(groups)
                break
            except torch.OutOfMemoryError:
                self._halve(groups)
        self.optimizer.step()
        self.synthesis.clamp()
        return total

    def _gradients(self, groups: Sequence[int]) -> Tensor:
        """Leave the gradient in the learned tensors: the sum over groups, accumulated piece by piece."""
        learned = list(self.synthesis.learned.values())
        total = torch.zeros((), device=self.context.device)
        for tensor in learned:
            tensor.grad = None
        for piece in _pieces(groups, self.pieces):
            loss = self.loss(piece)
            # Not loss.backward(): that would also fill the gradients of the networks.
            for tensor, gradient in zip(learned, torch.autograd.grad(loss, learned), strict=True):
                tensor.grad = gradient if tensor.grad is None else tensor.grad.add_(gradient)
            total += loss.detach()
        return total

    def _halve(self, groups: Sequence[int]) -> None:
        """Go on with half as many groups at once, after the device ran out of memory.

        Raises:
            torch.OutOfMemoryError: where nothing is left to halve, or the objective needs all groups together.
        """
        if self.pieces >= len(groups) or not self.separable:
            raise torch.OutOfMemoryError(
                "The device's memory does not hold one step. Use a smaller sampler.batch, ipc or network, or "
                "device='cpu'."
            )
        self.pieces *= 2
        torch.cuda.empty_cache()

    @property
    def separable(self) -> bool:
        """Whether the loss is a sum over groups, so that its gradient can be accumulated group by group."""
        nets = (lender.lend(self.sweep) for lender in self.lenders.values())
        coupled = any(networks.couples_samples(net.module) for net in nets)
        return not coupled and all(term.objective.separable for term in self.recipe.terms)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run of the same recipe and source needs to go on to the same bits."""
        return {
            "sweep": self.sweep,
            "synthesis": self.synthesis.state_dict(),
            "optimizer": self.optimizer.state_dict() if self.optimizer else {},
            "lenders": [lender.state_dict() for lender in self.lenders.values()],
            "drawers": [drawer.state_dict() for drawer in self.drawers.values()],
            "losses": [loss.state_dict() for loss in self._learning_losses()],
            "plateau": self.plateau.state_dict() if self.plateau else {},
        }

    def _learning_losses(self) -> list[LearningLoss]:
        losses: list[object] = [*self.losses]
        return [loss for loss in losses if isinstance(loss, LearningLoss)]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.sweep = state["sweep"]
        self.synthesis.load_state_dict(state["synthesis"])
        if self.optimizer:
            self.optimizer.load_state_dict(state["optimizer"])
        for parts, stored in ((self.lenders, "lenders"), (self.drawers, "drawers")):
            for part, part_state in zip(parts.values(), state[stored], strict=True):
                part.load_state_dict(part_state)
        for loss, loss_state in zip(self._learning_losses(), state["losses"], strict=True):
            loss.load_state_dict(loss_state)
        if self.plateau:
            self.plateau.load_state_dict(state["plateau"])


def _pieces(groups: Sequence[int], count: int) -> list[Sequence[int]]:
    """`groups` in at most `count` parts of nearly equal length."""
    length = -(-len(groups) // count)
    return [groups[start : start + length] for start in range(0, len(groups), length)]


class _Ahead:
    """Fetches the real samples of the next step while this one computes: they come from a file or another memory."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="condensed-data-ahead")
        self.coming: dict[tuple[Sampler, int, tuple[int, ...]], Future[tuple[Draw, Tensor]]] = {}

    def take(self, sampler: Sampler, groups: Sequence[int]) -> tuple[Draw, Tensor]:
        """The draw of the current sweep over these groups, and its samples."""
        run, key = self.run, (sampler, self.run.sweep, tuple(groups))
        found = self.coming.pop(key, None)
        now = self._fetch(*key) if found is None else found.result()
        if run.drawers[sampler].ahead:
            steps = [piece for block in run.blocks() for piece in _pieces(block, run.pieces)]
            place = steps.index(list(groups)) + 1
            later = (run.sweep, steps[place]) if place < len(steps) else (run.sweep + 1, steps[0])
            self.coming = {
                (sampler, later[0], tuple(later[1])): self.thread.submit(
                    self._fetch, sampler, later[0], later[1]
                )
            }
        return now

    def _fetch(self, sampler: Sampler, sweep: int, groups: Sequence[int]) -> tuple[Draw, Tensor]:
        draw = self.run.drawers[sampler].draw(sweep, groups)
        return draw, self.run.context.real[draw.real]
