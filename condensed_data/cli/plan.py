"""`condensed-data plan`: print the time, memory, disk space and operations that a build would take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from condensed_data.cli.options import add_compute_options, add_source_options, load_split
from condensed_data.cli.recipe_options import add_recipe_options, recipe_from_options
from condensed_data.core.sizes import format_bytes, format_duration

if TYPE_CHECKING:
    from condensed_data.engine.planning.cost_estimate import Plan


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `plan`."""
    parser.add_argument("source", metavar="SOURCE", help="dataset that would be condensed, see below")
    add_recipe_options(parser)
    add_source_options(parser)
    add_compute_options(parser)


def run(arguments: Namespace) -> None:
    """Measure a few iterations on a sample of the source and print the plan."""
    from condensed_data.core import spec
    from condensed_data.core.device import choose_device, choose_precision
    from condensed_data.data.source import inspect
    from condensed_data.engine.planning.cost_estimate import plan

    recipe = recipe_from_options(arguments)
    device = choose_device(arguments.device)
    source = inspect(load_split(arguments, arguments.source, "train"), arguments.workers)
    spec.validate(recipe, source.kind.shape)
    precision = choose_precision(arguments.precision, device)
    with _announcer(arguments.quiet) as announce:
        found = plan(source, recipe, device, precision, arguments.seed, announce)
    print(format_plan(found))


@contextmanager
def _announcer(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A bar that says what is measured."""
    from tqdm.auto import tqdm

    with tqdm(desc="plan", bar_format="{desc} ({elapsed})", leave=False, disable=quiet) as bar:
        yield lambda step: bar.set_description_str(f"plan: {step}")


def format_plan(plan: Plan) -> str:
    """Text: a heading, and one line each for time, operations, memory and disk."""
    from condensed_data.cli.reporting import aligned

    classes = f"{plan.classes:,}" if plan.all_labels_read else f"at least {plan.classes:,}"
    head = (
        f"{plan.recipe} on {plan.name}: {plan.samples:,} samples of {classes} classes; measured on a few of them "
        f"({plan.device})"
    )
    lines = (("time", _time), ("operations", _operations), ("memory", _memory), ("disk", _disk))
    return "\n".join([head, *aligned((name, describe(plan)) for name, describe in lines)])


def _time(plan: Plan) -> str:
    parts = [f"reading {format_duration(plan.reading_seconds)}"]
    if plan.pretraining_seconds:
        parts.append(f"pretraining {format_duration(plan.pretraining_seconds)}")
    parts.append(f"{plan.iterations:,} iterations of {format_duration(plan.iteration_seconds)}")
    return f"{format_duration(plan.seconds)}: {', '.join(parts)}"


def _operations(plan: Plan) -> str:
    total, speed = plan.iteration_flop * plan.iterations, plan.iteration_flop / plan.iteration_seconds
    return f"{total:.3g} FLOP, {plan.iteration_flop:.3g} per iteration; {speed:.3g} FLOP/s"


def _memory(plan: Plan) -> str:
    verdict = "which is enough"
    if plan.memory.working > plan.free_memory:
        remedy = "gradients are accumulated in chunks"
        if not plan.separable:
            remedy = f"use {' or '.join(plan.memory.remedies)}"
        verdict = f"which is too little for a whole step: {remedy}"
    return f"{plan.memory}; {format_bytes(plan.free_memory)} free, {verdict}"


def _disk(plan: Plan) -> str:
    sizes = {
        "samples of the source": plan.memory.samples if plan.memory.on_disk else 0,
        "trained networks": plan.network_bytes,
    }
    parts = [f"{format_bytes(size)} {name}" for name, size in sizes.items() if size]
    parts += [f"{format_bytes(plan.checkpoint_bytes)} checkpoint", f"{format_bytes(plan.result_bytes)} result"]
    return ", ".join(parts)
