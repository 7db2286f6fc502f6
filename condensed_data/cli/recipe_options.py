"""The options that say which recipe."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from condensed_data.cli.options import whole

if TYPE_CHECKING:
    from condensed_data.methods.recipe import Recipe


def recipe_options(parser: ArgumentParser) -> None:
    """Name, samples per class, iterations and fields."""
    add = parser.add_argument
    add(
        "--recipe",
        default="dm",
        metavar="NAME",
        help="one that `condensed-data recipes` lists, or with arguments, such as 'bdm(base=dm, k=10)' (default: dm)",
    )
    add("--ipc", type=whole, metavar="N", help="synthetic samples for each class (default: 10)")
    add(
        "--iterations",
        type=whole,
        metavar="N",
        help="passes over all classes (default: as published for such data)",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any field that `recipes NAME` shows",
    )


def chosen_recipe(arguments: Namespace) -> Recipe:
    """The recipe with what --ipc, --iterations and --set say."""
    from condensed_data.methods import recipes

    given = {} if arguments.ipc is None else {"ipc": arguments.ipc}
    recipe = recipes.parse(arguments.recipe, **given)
    if arguments.iterations is not None:
        recipe = recipe.set(iterations=arguments.iterations)
    for text in arguments.set:
        recipe = _assigned(recipe, text)
    if not recipe.terms and recipe.iterations != 0:
        raise ValueError(
            f"iterations={recipe.iterations}: recipe {recipe.name} learns nothing. Leave its iterations at 0."
        )
    return recipe


def _assigned(recipe: Recipe, text: str) -> Recipe:
    from condensed_data.core import spec

    field, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: the value is missing. Write --set FIELD=VALUE.")
    return spec.set_field(recipe, field.strip(), spec.parse(value))
