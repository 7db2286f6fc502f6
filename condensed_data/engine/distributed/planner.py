"""Finds the work plan of a run from its recipe and its parts."""

from __future__ import annotations

from condensed_data.core.process_group import ProcessGroup
from condensed_data.engine.distributed.work_plan import (
    DEFAULT_BLOCKS,
    WorkPlan,
    WorkUnit,
    partition,
    step_contents,
)
from condensed_data.engine.parts import StartedParts
from condensed_data.methods.recipe import Recipe


def plan_work(
    recipe: Recipe, parts: StartedParts, num_groups: int, ranks: ProcessGroup, *, in_blocks: bool
) -> WorkPlan:
    """Assign the work of an iteration to processes; `in_blocks`: in blocks even if recipe.num_blocks is None."""
    blocks = recipe.num_blocks or (DEFAULT_BLOCKS if in_blocks else None)
    trainable, per_iteration = parts.trainable_terms, recipe.step_per == "iteration"

    def units(groups: list[int], terms: tuple[int, ...]) -> list[WorkUnit]:
        if blocks is None or not per_iteration:
            return [WorkUnit(tuple(groups), terms, False)]
        separable = [term for term in terms if parts.is_separable(term) and term not in trainable]
        return partition(groups, blocks, separable, [term for term in terms if term not in separable])

    return WorkPlan(
        [units(groups, terms) for groups, terms in step_contents(recipe.step_per, num_groups, len(recipe.terms))],
        independent=not (per_iteration or parts.synthetic_data.shared_across_groups or trainable),
        main_terms=trainable,
        rank=ranks.rank,
        world_size=ranks.count,
    )
