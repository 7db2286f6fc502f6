"""The recipes by name: each one registers itself where it is defined.

    @register
    def my_method(ipc: Count = 10, iterations: int | None = None) -> Recipe:
        \"\"\"Return the recipe of my method.\"\"\"
        return Recipe(name="my_method", ...)

The first line of its docstring is what `condensed-data recipes` prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from condensed_data.core.annotations import checked
from condensed_data.core.names import unknown_name
from condensed_data.core.spec_text import parse_call
from condensed_data.methods.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Recipe])
_FUNCTIONS: dict[str, Callable[..., Recipe]] = {}


def register(function: F) -> F:
    """Make a recipe available by the name of its function, which takes `ipc=`. Use as a decorator.

    Arguments are checked against the function's annotations.
    Defining the same function again, as notebooks do, replaces it.

    Raises:
        ValueError: if another function is already registered under this name.
    """
    name = function.__name__
    other = _FUNCTIONS.get(name, function)
    if (other.__module__, other.__qualname__) != (function.__module__, function.__qualname__):
        raise ValueError(f"Recipe {name!r} is already registered by {other.__module__}. Rename the new function.")
    _FUNCTIONS[name] = checked(function)
    return cast("F", _FUNCTIONS[name])


def names() -> list[str]:
    """Names of all registered recipes, sorted."""
    return sorted(_FUNCTIONS)


def function(name: str) -> Callable[..., Recipe]:
    """The function that is registered under this name.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if name not in _FUNCTIONS:
        raise ValueError(unknown_name("recipe", name, names()))
    return _FUNCTIONS[name]


def get(name: str, **arguments: Any) -> Recipe:
    """The recipe with this name, built with these arguments; raises as `function` does."""
    return function(name)(**arguments)


def parse(text: str, **arguments: Any) -> Recipe:
    """A recipe from text: its name, or a call such as `bdm(base=dm, k=10)` with literals and parts as values.

    Raises:
        ValueError: if the text is neither, the recipe is unknown, or it does not take these arguments.
    """
    name, given = parse_call(text)
    if twice := given.keys() & arguments.keys():
        raise ValueError(f"{text}: {', '.join(sorted(twice))} is given twice. Give it once.")
    try:
        return get(name, **given, **arguments)
    except TypeError as error:
        raise ValueError(f"{text}: {error}.") from error


def get_base(name: str, base: str | Recipe, ipc: int | None, options: Mapping[str, Any]) -> Recipe:
    """The recipe that the recipe `name` builds on.

    Args:
        name: of the recipe that asks, for the error message.
        base: a name, or a recipe, which is returned as it is.
        ipc, options: samples per class (None for its default) and further arguments of a base given by name.

    Raises:
        ValueError: for an unknown name, or for `ipc` or options beside a `Recipe`.
    """
    if not isinstance(base, Recipe):
        return get(base, **({} if ipc is None else {"ipc": ipc}), **options)
    if ipc is not None or options:
        raise ValueError(
            f"{name}(base=Recipe(...)) cannot pass further arguments to a Recipe. "
            "Change the recipe with recipe.set(...)."
        )
    return base
