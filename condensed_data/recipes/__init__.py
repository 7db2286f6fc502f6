"""The methods: one short function each, a composition of parts with its citation and its deviations.

`dataclasses.replace`, or `Recipe.set`, edits what a function returns; `names` lists the functions. They lie in files by
what they compare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from condensed_data.recipe import Recipe
from condensed_data.recipes.distribution import dm as dm
from condensed_data.recipes.gradient import dc as dc
from condensed_data.recipes.gradient import dsa as dsa
from condensed_data.recipes.subsets import forgetting as forgetting
from condensed_data.recipes.subsets import herding as herding
from condensed_data.recipes.subsets import k_center as k_center
from condensed_data.recipes.subsets import k_means as k_means
from condensed_data.recipes.subsets import random as random
from condensed_data.recipes.unrolled import dd as dd

_RECIPES: dict[str, Callable[..., Recipe]] = {
    function.__name__: function for function in (dc, dd, dm, dsa, forgetting, herding, k_center, k_means, random)
}


def names() -> list[str]:
    """Names of all recipes."""
    return sorted(_RECIPES)


def get(name: str, **arguments: Any) -> Recipe:
    """The recipe of that name, built with these arguments.

    Raises:
        ValueError: for an unknown name; the known ones are listed.
    """
    if name not in _RECIPES:
        raise ValueError(f"Unknown recipe {name!r}. Known recipes: {', '.join(names())}.")
    return _RECIPES[name](**arguments)
