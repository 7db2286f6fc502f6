"""What the arguments of `CondensedDataset` stand for, checked before any long work."""

from __future__ import annotations

from pathlib import Path

from condensed_data.data.source import Source
from condensed_data.methods import recipes
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.cache import Cache, default_limit, default_root


def chosen_recipe(recipe: str | Recipe, ipc: int | None, soft: bool) -> Recipe:
    """The recipe of that name with `ipc` samples per class, or the one that is given.

    Raises:
        TypeError: for what is neither a name nor a recipe.
        ValueError: for an unknown name, an `ipc` that is not the recipe's own, or `soft` of hard labels.
    """
    chosen = _recipe(recipe, ipc)
    if soft and not chosen.soft_labels and chosen.labels_from is None:
        raise ValueError(
            f"soft=True needs soft labels, and recipe {chosen.name} makes none. Use recipe.set(soft_labels=True), "
            "where it reads labels, or recipe.set(labels_from=Teacher())."
        )
    return chosen


def _recipe(recipe: str | Recipe, ipc: int | None) -> Recipe:
    if isinstance(recipe, Recipe):
        if ipc is not None and ipc != recipe.ipc:
            raise ValueError(f"ipc={ipc} is given, and the recipe has ipc={recipe.ipc}. Give one of the two.")
        return recipe
    if not isinstance(recipe, str):
        raise TypeError(f"recipe={recipe!r} must be a name or a Recipe.")
    return recipes.get(recipe) if ipc is None else recipes.get(recipe, ipc=ipc)


def chosen_cache(cache: bool | str | Path) -> Cache | None:
    """The default cache for True, one in this folder, or none for False."""
    if cache is False:
        return None
    return Cache(default_root() if cache is True else Path(cache), default_limit())


def say_random(source: Source, progress: bool) -> None:
    """Tell what becomes of random transforms, where there are any."""
    if source.random_transform is not None and progress:
        print(
            f"{source.name}: its random transforms are applied to the condensed samples, not while condensing."
        )
