"""Job arrays: `build --shard 2/8` makes the samples of some classes, and `merge` puts the sets of all jobs together.

It serves recipes whose classes do not look at each other: DM, M3D, DANCE, IDC, IDM and what combines with them. The
merged samples are the bits of one process that computes in blocks (`Recipe.blocks`).

Letters: N samples, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.process_group import ProcessGroup
from condensed_data.engine.distributed.gradient_exchange import row_groups, rows_of_groups
from condensed_data.engine.run import CondensationRun
from condensed_data.methods.base import SyntheticSpec
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.metadata import Metadata
from condensed_data.storage.result import CondensationResult, with_storage_size


def shard(text: str) -> ProcessGroup:
    """From "2/8", the second of eight jobs.

    Raises:
        ValueError: for anything else.
    """
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"shard {text!r} must be NUMBER/COUNT, such as 2/8: the second of eight jobs.")
    return ProcessGroup(number - 1, count, isolated=True)


def check(recipe: Recipe) -> None:
    """Refuse a recipe whose classes look at each other, before anything is read.

    Raises:
        ValueError: saying where they do, and what can be done.
    """
    reasons = [
        f"{type(term.objective).__name__} looks at all classes together"
        for term in recipe.terms
        if not term.objective.separable
    ]
    reasons += [
        f"networks of {type(term.pool).__name__} learn from the samples of all classes"
        for term in recipe.terms
        if term.pool.learns_from_samples
    ]
    if recipe.stop is not None:
        reasons.append("it stops by the loss of all classes (stop=None runs all iterations)")
    _refuse(recipe, reasons)


def check_run(run: CondensationRun) -> None:
    """Refuse what only a run knows of its classes.

    Raises:
        ValueError: saying where they look at each other, and what can be done.
    """
    reasons = [
        f"all classes share the learned {name}" for name in sorted(run.synthetic_data.shared_across_groups)
    ]
    if not run.separable:
        reasons.append("batch normalization looks at all classes together")
    if run.learning:
        reasons.append("its loss learns from all classes")
    _refuse(run.recipe, reasons)
    real, count = run.context.real, run.context.ranks.count
    if real.num_groups > real.num_classes:
        raise ValueError(
            "Shards are made of classes, and groups= splits these. Use torchrun, or leave groups= out."
        )
    most = len(run.shares(run.steps()[0])) if run.recipe.step_per == "iteration" else real.num_classes
    if count > most:
        raise ValueError(
            f"{count} shards are more than the {most} parts that this run has. Use at most {most}."
        )


def _refuse(recipe: Recipe, reasons: Sequence[str]) -> None:
    if reasons:
        raise ValueError(
            f"Recipe {recipe.name} cannot be built in shards: {'; '.join(dict.fromkeys(reasons))}. Use several "
            "processes that speak to each other: torchrun --nproc-per-node N -m condensed_data build ..."
        )


def part(result: CondensationResult, run: CondensationRun) -> CondensationResult:
    """What this job made: the samples of its classes."""
    owned, synthetic_data = run.work_plan.owned, run.synthetic_data
    rows = rows_of_groups(synthetic_data.groups, owned)
    stored = None
    if result.stored is not None:
        stored = dict(result.stored)
        for name in synthetic_data.learned.keys() & stored.keys():
            groups = row_groups(synthetic_data, name)
            assert groups is not None
            stored[name] = stored[name][rows_of_groups(groups, owned)]
    made_for = None if result.made_for is None else result.made_for[rows]
    small = replace(
        result, images=result.images[rows], labels=result.labels[rows], stored=stored, made_for=made_for
    )
    return with_storage_size(small, _floats(small))


def merge(parts: Sequence[CondensationResult]) -> CondensationResult:
    """The set of all shards.

    Raises:
        ValueError: where they are of different builds, overlap, or leave classes out.
    """
    first = parts[0]
    for number, other in enumerate(parts[1:], start=2):
        _check_same(first.metadata, other.metadata, number)
    classes = torch.cat([part.class_indices if part.made_for is None else part.made_for for part in parts])
    made = [set((p.class_indices if p.made_for is None else p.made_for).tolist()) for p in parts]
    for number, some in enumerate(made):
        twice = [(other, some & made[other]) for other in range(number) if some & made[other]]
        if twice:
            raise ValueError(
                f"Sets {twice[0][0] + 1} and {number + 1} both have class {first.metadata.classes[min(twice[0][1])]!r}."
            )
    missing = sorted(set(range(len(first.metadata.classes))) - set.union(*made))
    if missing:
        names = ", ".join(first.metadata.classes[label] for label in missing[:5])
        raise ValueError(
            f"{len(missing)} classes are missing ({names}{', ...' if len(missing) > 5 else ''}). Merge all shards."
        )
    order = classes.argsort(stable=True)
    stored = None
    if first.stored is not None:
        kept = [part.stored or {} for part in parts]
        stored = {name: _joined([tensors[name] for tensors in kept], parts) for name in first.stored}
    whole = replace(
        first,
        images=torch.cat([part.images for part in parts])[order],
        labels=torch.cat([part.labels for part in parts])[order],
        stored=stored,
        made_for=None if first.made_for is None else classes[order],
        metadata=replace(
            first.metadata,
            key=None,
            seconds=sum(part.metadata.seconds or 0.0 for part in parts),
            history=_history([part.metadata.history for part in parts]),
            evaluations=(),
            baselines=(),
        ),
    )
    return with_storage_size(whole, _floats(whole))


def _joined(tensors: Sequence[Tensor], parts: Sequence[CondensationResult]) -> Tensor:
    """Rows of all parts in the order of their classes; what all parts have alike once."""
    if all(tensor.shape == tensors[0].shape and torch.equal(tensor, tensors[0]) for tensor in tensors):
        return tensors[0]
    classes = [
        (part.class_indices if part.made_for is None else part.made_for)[:: len(part.labels) // len(tensor)]
        for part, tensor in zip(parts, tensors, strict=True)
    ]
    return torch.cat(list(tensors))[torch.cat(classes).argsort(stable=True)]


def _history(histories: Sequence[tuple[tuple[int, float], ...]]) -> tuple[tuple[int, float], ...]:
    """The summed loss of the iterations that all have."""
    each = [dict(history) for history in histories]
    return tuple(
        (iteration, sum(points[iteration] for points in each))
        for iteration in each[0]
        if all(iteration in p for p in each)
    )


def _check_same(first: Metadata, other: Metadata, number: int) -> None:
    names = (
        "fingerprint",
        "recipe",
        "seed",
        "iterations",
        "classes",
        "kind",
        "encoding",
        "whitening",
        "label_kind",
    )
    for name in names:
        one, two = getattr(first, name), getattr(other, name)
        if one != two:
            shown = "" if isinstance(one, dict) else f": {one} and {two}"
            raise ValueError(f"Sets 1 and {number} are of different builds: their {name} differs{shown}.")
    if first.environment.get("precision") != other.environment.get("precision"):
        raise ValueError(f"Sets 1 and {number} are of different builds: their precision differs.")


def _floats(result: CondensationResult) -> int:
    """Numbers that are kept to decode the samples."""
    if result.stored is None:
        return result.images.numel()
    metadata, classes = result.metadata, result.class_indices if result.made_for is None else result.made_for
    encoding: SyntheticSpec = specs.from_json(dict(metadata.encoding))
    return encoding.restore(result.stored, classes, metadata.kind.shape).stored_floats
