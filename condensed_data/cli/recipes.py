"""`condensed-data recipes`: list the methods, or show the fields of one."""

from __future__ import annotations

import inspect
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any


def options(parser: ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "recipe",
        nargs="?",
        metavar="NAME",
        help="show this recipe's fields, which build --set reaches; also with arguments: 'bdm(base=dm)'",
    )


def run(arguments: Namespace) -> None:
    """Do it."""
    print("\n".join(_one(arguments.recipe) if arguments.recipe else _all()))


def _all() -> Iterator[str]:
    from condensed_data.methods import recipes

    width = max(map(len, recipes.names()))
    for name in recipes.names():
        yield f"{name:<{width}}  {_headline(name)}"
        if paper := recipes.get(name).paper:
            yield f"{'':<{width}}  {paper}"


def _one(name: str) -> Iterator[str]:
    from condensed_data.methods import recipes

    recipe = recipes.parse(name)
    yield f"{name}: {_headline(name.partition('(')[0].strip())}"
    for title, text in (("paper", recipe.paper), ("deviations", recipe.deviations)):
        if text:
            yield f"{title}: {text}"
    yield "\nFields for build --set FIELD=VALUE; the last word is enough where it occurs once:"
    rows = [row for row in _fields(recipe) if row[0] not in ("name", "paper", "deviations")]
    width = max(len(path) for path, _ in rows)
    yield from (f"  {path:<{width}}  {value}" for path, value in rows)


def _headline(name: str) -> str:
    """First line of the recipe's documentation."""
    from condensed_data.methods import recipes

    documentation = inspect.getdoc(getattr(recipes, name.replace("-", "_"))) or ""
    return documentation.partition("\n")[0]


def _fields(recipe: Any) -> Iterator[tuple[str, str]]:
    """Every field's path, with its value, or with the name of the part whose fields follow."""
    from condensed_data.core import spec

    for path, value in spec.iter_fields(recipe):
        parts = isinstance(value, tuple) and any(isinstance(item, spec.Spec) for item in value)
        if not parts and not path.rpartition(".")[2].isdigit():
            yield (
                path,
                type(value).__name__
                if any(spec.iter_fields(value)) and not isinstance(value, tuple)
                else repr(value),
            )
