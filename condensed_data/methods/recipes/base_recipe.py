"""Recipes that are made of another one: which, and with what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from condensed_data.methods.recipe import Recipe


def base_of(name: str, base: str | Recipe, ipc: int | None, options: Mapping[str, Any]) -> Recipe:
    """The base of the recipe `name`.

    Args:
        base: a name, or a recipe, which brings its own fields.
        ipc: of a base given by name; None for its default.
        options: its other arguments.

    Raises:
        ValueError: for an unknown name; for `ipc` or options beside a recipe.
    """
    from condensed_data.methods.recipes import get  # it imports the callers

    if isinstance(base, Recipe):
        if ipc is not None or options:
            raise ValueError(
                f"{name}(base=Recipe(...)) takes no other fields of the base: edit the recipe itself."
            )
        return base
    return get(base, **({} if ipc is None else {"ipc": ipc}), **options)
