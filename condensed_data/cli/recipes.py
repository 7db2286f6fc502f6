"""`condensed-data recipes`: list the recipes, or show the paper, the deviations and the fields of one."""

from __future__ import annotations

import inspect
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from condensed_data.cli.options import POSITIVE

if TYPE_CHECKING:
    from condensed_data.core.spec import DatasetInfo


def add_options(parser: ArgumentParser) -> None:
    """Add the options of `recipes`."""
    parser.add_argument(
        "recipe",
        nargs="?",
        metavar="NAME",
        help="show the fields of this recipe, which `build --set` can change; also with arguments: 'bdm(base=dm)'",
    )
    parser.add_argument(
        "--data",
        metavar="DATASET",
        help="show the values for this dataset, such as mnist or cifar10, and which of them are published",
    )
    parser.add_argument("--ipc", **POSITIVE, default=10, help="samples per class for --data (default: 10)")


def run(arguments: Namespace) -> None:
    """Print all recipes, or the fields of one."""
    from condensed_data.data.known_datasets import known_info

    if arguments.data is not None and arguments.recipe is None:
        raise ValueError(f"--data {arguments.data} needs the name of a recipe, such as `recipes mtt --data cifar10`.")
    info = None if arguments.data is None else known_info(arguments.data, arguments.ipc)
    print("\n".join(_fields_of(arguments.recipe, info) if arguments.recipe else _all_recipes()))


def _all_recipes() -> Iterator[str]:
    from condensed_data.methods import recipes

    width = max(map(len, recipes.names()))
    for name in recipes.names():
        yield f"{name:<{width}}  {_summary(name)}"
        if paper := recipes.get(name).paper:
            yield f"{'':<{width}}  {paper}"


def _fields_of(name: str, info: DatasetInfo | None) -> Iterator[str]:
    from condensed_data.methods import recipes

    recipe = recipes.parse(name)
    yield f"{name}: {_summary(name.partition('(')[0].strip())}"
    for title, text in (("paper", recipe.paper), ("deviations", recipe.deviations)):
        if text:
            yield f"{title}: {text}"
    yield "\nFields for `build --set FIELD=VALUE`; the last part of a name is enough if it is unique:"
    shown = recipe if info is None else recipe.resolve_for(info)
    origins = {} if info is None else _origins(recipe, info)
    rows = [row for row in _paths_and_values(shown) if row[0] not in ("name", "paper", "deviations")]
    width = max(len(path) for path, _ in rows)
    for path, value in rows:
        yield f"  {path:<{width}}  {value}" + (f"  ({origins[path]})" if path in origins else "")


def _summary(name: str) -> str:
    """First line of the recipe's docstring."""
    from condensed_data.methods import recipes

    documentation = inspect.getdoc(recipes.function(name)) or ""
    return documentation.partition("\n")[0]


def _origins(recipe: Any, info: DatasetInfo) -> dict[str, str]:
    """Where the value of every field that depends on the data comes from, by path."""
    from condensed_data.core import spec
    from condensed_data.methods.recipes.published import Published

    origins = {}
    for path, value in spec.iter_fields(recipe):
        if isinstance(value, spec.DataDefault):
            parts = (value, *(part for _, part in spec.iter_fields(value)))
            tables = [part.origin(info) for part in parts if isinstance(part, Published)]
            origins[path] = tables[0] if tables else "by a rule, see the documentation of the recipe"
    return origins


def _paths_and_values(recipe: Any) -> Iterator[tuple[str, str]]:
    """The path and value of every field; for a part with fields of its own, its class name."""
    from condensed_data.core import spec

    for path, value in spec.iter_fields(recipe):
        is_parts = isinstance(value, tuple) and any(isinstance(item, spec.Spec) for item in value)
        if is_parts or path.rpartition(".")[2].isdigit():
            continue  # their own fields follow
        has_fields = not isinstance(value, tuple) and any(spec.iter_fields(value))
        yield path, type(value).__name__ if has_fields else repr(value)
