"""Turns the user's `recipe=`, `ipc=`, `soft=` and `cache=` into objects, before any long work."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from condensed_data.core import spec as specs
from condensed_data.core.errors import short_repr
from condensed_data.core.names import did_you_mean
from condensed_data.core.sizes import parse_bytes
from condensed_data.data.source import Source
from condensed_data.methods import recipes
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.cache import Cache, default_limit, default_root


def get_recipe(
    recipe: str | Recipe, ipc: int | None, soft: bool, options: Mapping[str, Any], arguments: Collection[str]
) -> Recipe:
    """The recipe of that name with `ipc` samples per class, or the given one, with other options.

    Args:
        recipe, ipc, soft: see `CondensedDataset`.
        options: further arguments of the recipe's function, or fields as in `Recipe.set`.
        arguments: names that the caller takes itself, one of which an unknown option may have been meant for.

    Raises:
        ValueError: for an unknown name, an `ipc` other than the recipe's own, or `soft` with hard labels.
        TypeError: for an option that is neither an argument of the recipe's function nor a field.
    """
    if isinstance(recipe, Recipe):
        if ipc not in (None, recipe.ipc):
            raise ValueError(f"ipc={ipc} conflicts with the recipe's own ipc={recipe.ipc}. Give only one of them.")
        found = _with_fields(recipe, options, arguments)
    else:
        own = recipes.function(recipe)
        given = {name: value for name, value in options.items() if _takes(own, name)}
        given |= {} if ipc is None else {"ipc": ipc}
        known = [*arguments, *inspect.signature(own).parameters]
        try:
            built = own(**given)
        except TypeError as error:  # an argument that its base does not take
            unknown = [name for name in given if name not in inspect.signature(own).parameters]
            raise TypeError(f"{error}{''.join(did_you_mean(name, arguments) for name in unknown)}") from None
        found = _with_fields(built, {name: options[name] for name in options.keys() - given.keys()}, known)
    learned = found.soft_labels or found.synthetic.learns_scores
    if soft and not learned and found.labels_from is None:
        raise ValueError(
            f"soft=True needs soft labels, but recipe {found.name} has hard ones. Use recipe.set(soft_labels=True) if "
            "its objective reads labels, otherwise recipe.set(labels_from=Teacher())."
        )
    return found


def _takes(function: Callable[..., Recipe], name: str) -> bool:
    """Whether a recipe's function has an argument of this name, or passes it on to that of its base."""
    parameters = inspect.signature(function).parameters.values()
    passes_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return "__" not in name and (passes_on or name in (parameter.name for parameter in parameters))


def _with_fields(recipe: Recipe, fields: Mapping[str, Any], known: Collection[str]) -> Recipe:
    """The recipe with these fields; `known` are other names that an unknown field may have been meant for."""
    paths = {path.replace(".", "__") for path, _ in specs.iter_fields(recipe)}
    ends = {path.rpartition("__")[2] for path in paths}
    for name, value in fields.items():
        if not any(path == name or path.endswith(f"__{name}") for path in paths):
            raise TypeError(
                f"{name}={short_repr(value)} is no argument of CondensedDataset and no field of recipe {recipe.name}."
                f"{did_you_mean(name, [*known, *paths, *ends])} recipe.set() lists the fields of a recipe."
            )
        recipe = recipe.set(**{name: value})
    return recipe


def memory_limit(memory: int | str | None) -> int | None:
    """`memory=` in bytes; ValueError unless it is positive, or for text other than a size such as "2GB"."""
    try:
        limit = parse_bytes(memory) if isinstance(memory, str) else memory
    except ValueError as error:
        raise ValueError(f"memory={memory!r}: {error}") from None
    if limit is not None and limit < 1:
        raise ValueError(f"memory={memory!r} must be a positive number of bytes, or None for half of what is free.")
    return limit


def open_cache(cache: bool | str | Path) -> Cache | None:
    """The default cache for True, the one in this folder, or None for False."""
    if cache is False:
        return None
    if cache == "":
        raise ValueError("cache='' must name a folder. Use cache=True for the default one.")
    return Cache(default_root() if cache is True else Path(cache), default_limit())


def announce_random_transforms(source: Source, progress: bool) -> None:
    """Print that the source's random transforms move to the condensed samples, if it has any."""
    if source.random_transform is not None and progress:
        print(f"{source.name}: random transforms are applied to the condensed samples, not while condensing.")
