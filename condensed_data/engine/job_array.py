"""Job arrays: `build --shard 2/8` condenses the classes of one of eight jobs that never communicate.

It serves recipes whose classes are independent of each other: DM, M3D, DANCE, IDC, IDM and what combines with them.
`condensed_data.storage.shards.merge` puts the results of all jobs together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from condensed_data.core.process_group import ALONE, ProcessGroup
from condensed_data.engine.distributed.gradient_exchange import row_groups, rows_of_groups
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.result import CondensationResult, with_storage_size
from condensed_data.storage.shards import count_floats


def parse_shard(text: str | None) -> ProcessGroup:
    """From "2/8", the second of eight jobs; from None, a process alone.

    Raises:
        ValueError: for anything else.
    """
    if text is None:
        return ALONE
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"shard={text!r} must be NUMBER/COUNT, such as 2/8 for the second of eight jobs.")
    return ProcessGroup(number - 1, count, isolated=True)


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe whose classes depend on each other, before anything is read.

    Raises:
        ValueError: naming what couples them, and what can be done.
    """
    reasons = [
        f"{type(term.objective).__name__} needs all classes together"
        for term in recipe.terms
        if not term.objective.separable
    ]
    reasons += [
        f"networks of {type(term.pool).__name__} learn from the samples of all classes"
        for term in recipe.terms
        if term.pool.trains_on_synthetic
    ]
    if recipe.optimizer.plateau is not None:
        reasons.append("its learning rate follows the loss of all classes (optimizer.plateau=None keeps it)")
    if recipe.early_stopping is not None:
        reasons.append("it stops by the loss of all classes (early_stopping=None runs all iterations)")
    _refuse(recipe, reasons)


def check_run(run: CondensationRun) -> None:
    """Refuse what couples classes only in a run: shared learned tensors, batch normalization, trainable losses.

    Raises:
        ValueError: naming what couples them, and what can be done.
    """
    shared = sorted(run.synthetic_data.shared_across_groups)
    reasons = [f"all classes share the learned {name}" for name in shared]
    if not run.parts.separable:
        reasons.append("batch normalization needs all classes together")
    if run.parts.trainable_losses:
        reasons.append("its loss learns from all classes")
    _refuse(run.recipe, reasons)
    real, count = run.context.real, run.context.ranks.count
    if real.num_groups > real.num_classes:
        raise ValueError("shard= cannot be combined with groups=. Omit groups=, or use torchrun instead of shards.")
    most = len({unit.groups for step in run.plan.steps for unit, _ in step})
    if count > most:
        raise ValueError(f"This run can be divided into at most {most} shards, not {count}. Use --shard N/{most}.")


def _refuse(recipe: Recipe, reasons: Sequence[str]) -> None:
    if reasons:
        raise ValueError(
            f"Recipe {recipe.name} cannot be built in shards: {'; '.join(dict.fromkeys(reasons))}. Use processes that "
            "communicate: torchrun --nproc-per-node N -m condensed_data build ..."
        )


def own_part(result: CondensationResult, run: CondensationRun) -> CondensationResult:
    """The samples of this job's classes."""
    groups, synthetic_data = run.plan.own_groups, run.synthetic_data
    rows = rows_of_groups(synthetic_data.groups, groups)
    stored = None
    if result.stored is not None:
        stored = dict(result.stored)
        for name in synthetic_data.learned.keys() & stored.keys():
            of_rows = row_groups(synthetic_data, name)
            assert of_rows is not None
            stored[name] = stored[name][rows_of_groups(of_rows, groups)]
    hard_labels = None if result.hard_labels is None else result.hard_labels[rows]
    part = replace(
        result, images=result.images[rows], labels=result.labels[rows], stored=stored, hard_labels=hard_labels
    )
    return with_storage_size(part, count_floats(part))
