"""Options that choose a recipe and set its fields."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from condensed_data.methods.recipe import Recipe


def add_recipe_options(parser: ArgumentParser) -> None:
    """Add --recipe, --ipc, --iterations and --set."""
    add = parser.add_argument_group("recipe").add_argument
    add(
        "--recipe",
        default="dm",
        metavar="NAME",
        help="name from `condensed-data recipes`, or a name with arguments, such as 'bdm(base=dm, k=10)' (default: dm)",
    )
    add("--ipc", type=int, metavar="N", help="synthetic samples per class (default: 10)")
    iterations = "number of iterations (default: the published number for such data)"
    add("--iterations", type=int, metavar="N", help=iterations)
    add(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set any field listed by `condensed-data recipes NAME`; repeatable",
    )


def recipe_from_options(arguments: Namespace) -> Recipe:
    """The recipe of --recipe with --ipc, --iterations and every --set applied.

    Raises:
        ValueError: for an unknown recipe or field, a wrong value, or iterations of a recipe that learns nothing.
    """
    from condensed_data.core import spec, spec_text
    from condensed_data.methods import recipes

    given = {} if arguments.ipc is None else {"ipc": arguments.ipc}
    recipe = recipes.parse(arguments.recipe, **given)
    if arguments.iterations is not None:
        recipe = recipe.set(iterations=arguments.iterations)
    for assignment in arguments.set:
        field, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set {assignment}: the value is missing. Write --set FIELD=VALUE.")
        recipe = spec.set_field(recipe, field.strip(), spec_text.parse_value(value))
    return recipe
