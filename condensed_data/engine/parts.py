"""The parts of a recipe after they have started: everything of a run that changes and is checkpointed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from condensed_data import networks
from condensed_data.engine.distributed.work_plan import step_contents
from condensed_data.methods.base import Loss, Pool, PoolState, Sampler, SamplerState, Stateful, TrainableLoss
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic.soft_labels import SoftLabeledData
from condensed_data.training.context import Context


class StartedParts(Stateful):
    """Run state of all parts of a recipe.

    Args:
        recipe: resolved.
        context: what the parts start from.

    Attributes:
        iteration: completed iterations.
        synthetic_data: what is learned.
        sampler_states, pool_states: by specification; terms that name the same one share its state.
        losses: one for each term.
        optimizer, plateau, early_stopping: None if the recipe has none.
    """

    def __init__(self, recipe: Recipe, context: Context) -> None:
        self.recipe, self.iteration = recipe, 0
        self.synthetic_data = recipe.synthetic.start(context)
        if recipe.soft_labels:
            self.synthetic_data = SoftLabeledData(self.synthetic_data, context.real.num_classes, context.device)
        self.sampler_states: dict[Sampler, SamplerState] = {}
        self.pool_states: dict[Pool, PoolState] = {}
        self.losses: list[Loss] = []
        groups, _ = step_contents(recipe.step_per, context.real.num_groups, len(recipe.terms))[0]
        for term in recipe.terms:
            if term.sampler not in self.sampler_states:
                self.sampler_states[term.sampler] = term.sampler.start(context, self.synthetic_data)
            indices = self.sampler_states[term.sampler].draw(0, groups)
            term.objective.check_sizes(indices.real_sizes, indices.synthetic_sizes)
        for term in recipe.terms:  # after all checks, because some pools train networks for hours when they start
            if term.pool not in self.pool_states:
                self.pool_states[term.pool] = term.pool.start(context)
            self.losses.append(term.objective.start(context))
        self.optimizer = recipe.optimizer.start(self.synthetic_data.learned) if recipe.terms else None
        self.plateau = recipe.optimizer.plateau.start() if recipe.optimizer.plateau else None
        self.early_stopping = recipe.early_stopping.start() if recipe.early_stopping else None

    @property
    def trainable_losses(self) -> list[TrainableLoss]:
        """The losses that are trained between the steps."""
        return [loss for loss in self.losses if isinstance(loss, TrainableLoss)]

    @property
    def trainable_terms(self) -> list[int]:
        """Numbers of the terms whose loss is trainable."""
        return [number for number, loss in enumerate(self.losses) if isinstance(loss, TrainableLoss)]

    def is_separable(self, number: int) -> bool:
        """Whether the loss of this term is a sum over groups; batch normalization couples them."""
        term = self.recipe.terms[number]
        module = self.pool_states[term.pool].network_at(self.iteration).module
        return term.objective.separable and not networks.has_batch_norm(module)

    @property
    def separable(self) -> bool:
        """Whether the whole loss is a sum over groups, so that its gradient can be accumulated group by group."""
        return all(map(self.is_separable, range(len(self.recipe.terms))))

    def state_dict(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "synthetic_data": self.synthetic_data.state_dict(),
            "optimizer": self.optimizer.state_dict() if self.optimizer else {},
            "pools": [state.state_dict() for state in self.pool_states.values()],
            "samplers": [state.state_dict() for state in self.sampler_states.values()],
            "losses": [loss.state_dict() for loss in self.trainable_losses],
            "plateau": self.plateau.state_dict() if self.plateau else {},
            "early_stopping": self.early_stopping.state_dict() if self.early_stopping else {},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.iteration = state["iteration"]
        self.synthetic_data.load_state_dict(state["synthetic_data"])
        if self.optimizer:
            self.optimizer.load_state_dict(state["optimizer"])
        parts: list[tuple[Any, Mapping[str, Any]]] = [
            *zip(self.pool_states.values(), state["pools"], strict=True),
            *zip(self.sampler_states.values(), state["samplers"], strict=True),
            *zip(self.trainable_losses, state["losses"], strict=True),
        ]
        for part, part_state in parts:
            part.load_state_dict(part_state)
        if self.plateau:
            self.plateau.load_state_dict(state["plateau"])
        if self.early_stopping:
            self.early_stopping.load_state_dict(state["early_stopping"])
