"""Finds the work plan of a run from its recipe and its parts."""

from __future__ import annotations

from condensed_data.core.process_group import ProcessGroup
from condensed_data.engine.distributed.work_plan import (
    DEFAULT_BLOCKS,
    WorkPlan,
    WorkUnit,
    group_steps,
    partition,
)
from condensed_data.engine.parts import StartedParts
from condensed_data.methods.recipe import Recipe


def plan_work(
    recipe: Recipe, parts: StartedParts, num_groups: int, ranks: ProcessGroup, *, in_blocks: bool
) -> WorkPlan:
    """Assign the work of an iteration to processes; `in_blocks`: in blocks even if recipe.num_blocks is None."""
    blocks = recipe.num_blocks or (DEFAULT_BLOCKS if in_blocks else None)
    terms = tuple(range(len(recipe.terms)))
    trainable = parts.trainable_terms

    def units(groups: list[int]) -> list[WorkUnit]:
        if blocks is None or recipe.step_per == "class":
            return [WorkUnit(tuple(groups), terms, False)]
        separable = [term for term in terms if parts.is_separable(term) and term not in trainable]
        return partition(groups, blocks, separable, [term for term in terms if term not in separable])

    return WorkPlan(
        [units(groups) for groups in group_steps(recipe.step_per, num_groups)],
        independent=recipe.step_per == "class" and not (parts.synthetic_data.shared_across_groups or trainable),
        main_terms=trainable,
        rank=ranks.rank,
        world_size=ranks.count,
    )
