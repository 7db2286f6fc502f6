"""Turns the user's `recipe=`, `ipc=`, `soft=` and `cache=` into objects, before any long work."""

from __future__ import annotations

from pathlib import Path

from condensed_data.data.source import Source
from condensed_data.methods import recipes
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.cache import Cache, default_limit, default_root


def get_recipe(recipe: str | Recipe, ipc: int | None, soft: bool) -> Recipe:
    """The recipe of that name with `ipc` samples per class, or the given one.

    Raises:
        TypeError: if `recipe` is neither a name nor a recipe.
        ValueError: for an unknown name, an `ipc` other than the recipe's own, or `soft` with hard labels.
    """
    if isinstance(recipe, str):
        found = recipes.get(recipe) if ipc is None else recipes.get(recipe, ipc=ipc)
    elif not isinstance(recipe, Recipe):
        raise TypeError(f"recipe={recipe!r} must be a name or a Recipe.")
    elif ipc not in (None, recipe.ipc):
        raise ValueError(f"ipc={ipc} conflicts with the recipe's own ipc={recipe.ipc}. Give only one of them.")
    else:
        found = recipe
    if soft and not found.soft_labels and found.labels_from is None:
        raise ValueError(
            f"soft=True needs soft labels, but recipe {found.name} has hard ones. Use recipe.set(soft_labels=True) if "
            "its objective reads labels, otherwise recipe.set(labels_from=Teacher())."
        )
    return found


def open_cache(cache: bool | str | Path) -> Cache | None:
    """The default cache for True, the one in this folder, or None for False."""
    if cache is False:
        return None
    return Cache(default_root() if cache is True else Path(cache), default_limit())


def announce_random_transforms(source: Source, progress: bool) -> None:
    """Print that the source's random transforms move to the condensed samples, if it has any."""
    if source.random_transform is not None and progress:
        print(f"{source.name}: random transforms are applied to the condensed samples, not while condensing.")
