"""`condensed-data recipes`: list the recipes, or show the paper, the deviations and the fields of one."""

from __future__ import annotations

import inspect
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `recipes`."""
    parser.add_argument(
        "recipe",
        nargs="?",
        metavar="NAME",
        help="show the fields of this recipe, which `build --set` can change; also with arguments: 'bdm(base=dm)'",
    )


def run(arguments: Namespace) -> None:
    """Print all recipes, or the fields of one."""
    print("\n".join(_fields_of(arguments.recipe) if arguments.recipe else _all_recipes()))


def _all_recipes() -> Iterator[str]:
    from condensed_data.methods import recipes

    width = max(map(len, recipes.names()))
    for name in recipes.names():
        yield f"{name:<{width}}  {_summary(name)}"
        if paper := recipes.get(name).paper:
            yield f"{'':<{width}}  {paper}"


def _fields_of(name: str) -> Iterator[str]:
    from condensed_data.methods import recipes

    recipe = recipes.parse(name)
    yield f"{name}: {_summary(name.partition('(')[0].strip())}"
    for title, text in (("paper", recipe.paper), ("deviations", recipe.deviations)):
        if text:
            yield f"{title}: {text}"
    yield "\nFields for `build --set FIELD=VALUE`; the last part of a name is enough if it is unique:"
    rows = [row for row in _paths_and_values(recipe) if row[0] not in ("name", "paper", "deviations")]
    width = max(len(path) for path, _ in rows)
    yield from (f"  {path:<{width}}  {value}" for path, value in rows)


def _summary(name: str) -> str:
    """First line of the recipe's docstring."""
    from condensed_data.methods import recipes

    documentation = inspect.getdoc(recipes.function(name)) or ""
    return documentation.partition("\n")[0]


def _paths_and_values(recipe: Any) -> Iterator[tuple[str, str]]:
    """The path and value of every field; for a part with fields of its own, its class name."""
    from condensed_data.core import spec

    for path, value in spec.iter_fields(recipe):
        is_parts = isinstance(value, tuple) and any(isinstance(item, spec.Spec) for item in value)
        if is_parts or path.rpartition(".")[2].isdigit():
            continue  # their own fields follow
        has_fields = not isinstance(value, tuple) and any(spec.iter_fields(value))
        yield path, type(value).__name__ if has_fields else repr(value)
