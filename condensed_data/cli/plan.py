"""`condensed-data plan`: what a build would take, before it starts."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from condensed_data.cli.options import compute_options, source_kwargs, source_options
from condensed_data.cli.recipe_options import chosen_recipe, recipe_options

if TYPE_CHECKING:
    from condensed_data.engine.planning import Plan


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("source", metavar="SOURCE", help="what would be condensed, see below")
    recipe_options(parser)
    source_options(parser)
    compute_options(parser)


def run(arguments: Namespace) -> None:
    """Measure and tell."""
    from condensed_data.core import spec
    from condensed_data.core.device import choose_device, choose_precision
    from condensed_data.data import catalog
    from condensed_data.data.source import inspect
    from condensed_data.engine.planning import plan

    recipe = chosen_recipe(arguments)
    device = choose_device(arguments.device)
    source = inspect(catalog.load(arguments.source, "train", **source_kwargs(arguments)))
    spec.validate(recipe, source.kind.shape)
    precision = choose_precision(arguments.precision, device)
    print(format_plan(plan(source, recipe, device, precision, arguments.seed)))


def format_plan(plan: Plan) -> str:
    """Text: a line for time, operations, memory and disk each."""
    from condensed_data.cli.reporting import aligned, duration
    from condensed_data.core.sizes import readable

    about = "" if plan.counted else ", as far as a sample of the labels shows"
    pretraining = f", networks beforehand {duration(plan.pretraining)}" if plan.pretraining else ""
    total = plan.operations * plan.iterations
    enough = "enough"
    if plan.memory.working > plan.free:
        cut = "steps are cut into pieces" if plan.pieces else f"use {' or '.join(plan.memory.remedies)}"
        enough = f"too little at once: {cut}"
    store = f"{readable(plan.memory.samples)} the source's samples, " if plan.memory.on_disk else ""
    trained = f"{readable(plan.networks)} trained networks, " if plan.networks else ""
    lines = {
        "time": f"{duration(plan.seconds)}: reading {duration(plan.reading)}{pretraining}, {plan.iterations:,} iterations of "
        f"{duration(plan.iteration)}",
        "operations": f"{total:.3g} FLOP, {plan.operations:.3g} an iteration; {plan.operations / plan.iteration:.3g} a second",
        "memory": f"{str(plan.memory).removeprefix('memory: ')}; {readable(plan.free)} free, {enough}",
        "disk": f"{store}{trained}{readable(plan.checkpoint)} checkpoint, {readable(plan.result)} result",
    }
    head = (
        f"{plan.recipe} on {plan.name}: {plan.samples:,} samples of {plan.classes:,} classes{about}; measured on a few "
        f"of them ({plan.device})"
    )
    return "\n".join([head, *aligned(lines.items())])
