"""The methods: one short function each, a composition of parts with its citation and its deviations.

`dataclasses.replace`, or `Recipe.set`, edits what a function returns; `names` lists the functions. They lie in files by
what they compare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from condensed_data.core import spec as specs
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.recipes.coresets import forgetting as forgetting
from condensed_data.methods.recipes.coresets import herding as herding
from condensed_data.methods.recipes.coresets import k_center as k_center
from condensed_data.methods.recipes.coresets import k_means as k_means
from condensed_data.methods.recipes.coresets import random as random
from condensed_data.methods.recipes.distribution import cafe as cafe
from condensed_data.methods.recipes.distribution import dm as dm
from condensed_data.methods.recipes.distribution import idm as idm
from condensed_data.methods.recipes.factorized import fred as fred
from condensed_data.methods.recipes.factorized import haba as haba
from condensed_data.methods.recipes.factorized import kfs as kfs
from condensed_data.methods.recipes.gradient import dc as dc
from condensed_data.methods.recipes.gradient import dsa as dsa
from condensed_data.methods.recipes.gradient import idc as idc
from condensed_data.methods.recipes.gradient import idc_i as idc_i
from condensed_data.methods.recipes.partitioned import bdm as bdm
from condensed_data.methods.recipes.partitioned import bdm_published as bdm_published
from condensed_data.methods.recipes.partitioned import debiased as debiased
from condensed_data.methods.recipes.pretrained import dance as dance
from condensed_data.methods.recipes.pretrained import iid as iid
from condensed_data.methods.recipes.pretrained import m3d as m3d
from condensed_data.methods.recipes.pretrained import ncfm as ncfm
from condensed_data.methods.recipes.trajectory import mtt as mtt
from condensed_data.methods.recipes.unrolled import dd as dd

_PUBLIC: tuple[Callable[..., Recipe], ...] = (
    bdm,
    bdm_published,
    cafe,
    dance,
    dc,
    dd,
    debiased,
    dm,
    dsa,
    forgetting,
    fred,
    haba,
    herding,
    idc,
    idc_i,
    idm,
    iid,
    k_center,
    k_means,
    kfs,
    m3d,
    mtt,
    ncfm,
    random,
)
_RECIPES = {function.__name__: function for function in _PUBLIC}


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


def parse(text: str, **arguments: Any) -> Recipe:
    """A recipe from text: its name, or a call such as `bdm(base=dm, k=10)` with literals and parts as values.

    Args:
        text: what the command line was given.
        arguments: more of the recipe's arguments.

    Raises:
        ValueError: for text that cannot be read, an unknown recipe, or arguments that it does not take.
    """
    name, given = specs.parse_call(text)
    twice = given.keys() & arguments.keys()
    if twice:
        raise ValueError(f"{text}: {', '.join(sorted(twice))} is given twice. Give it once.")
    try:
        return get(name, **given, **arguments)
    except TypeError as error:
        raise ValueError(f"{text}: {error}.") from error
