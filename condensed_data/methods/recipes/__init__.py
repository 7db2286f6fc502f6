# ruff: noqa: F403, F405
"""The methods: one short function each, which composes parts and states its paper and its deviations from it.

Every module in this folder is imported, and its functions register themselves (see `registry.py`): a new file is all
that a new method needs. `dataclasses.replace`, or `Recipe.set`, edits what a function returns.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from condensed_data.methods.recipes.registry import function as function
from condensed_data.methods.recipes.registry import get as get
from condensed_data.methods.recipes.registry import names as names
from condensed_data.methods.recipes.registry import parse as parse
from condensed_data.methods.recipes.registry import register as register

if TYPE_CHECKING:  # type checkers and editors cannot follow a loop; a line a file gives them every signature
    from condensed_data.methods.recipes.alignment import *
    from condensed_data.methods.recipes.coresets import *
    from condensed_data.methods.recipes.distribution import *
    from condensed_data.methods.recipes.factorized import *
    from condensed_data.methods.recipes.frepo import *
    from condensed_data.methods.recipes.gradient import *
    from condensed_data.methods.recipes.idc import *
    from condensed_data.methods.recipes.iid import *
    from condensed_data.methods.recipes.partitioned import *
    from condensed_data.methods.recipes.pretrained import *
    from condensed_data.methods.recipes.trajectory import *
    from condensed_data.methods.recipes.unrolled import *
else:
    for _module in iter_modules(__path__):
        import_module(f"{__name__}.{_module.name}")
    globals().update({name: function(name) for name in names()})  # a method's file may have its name

    def __getattr__(name):  # methods that are registered later
        try:
            return function(name)
        except ValueError as error:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}. {error}") from None

    def __dir__():
        return sorted({*globals(), *names()})
