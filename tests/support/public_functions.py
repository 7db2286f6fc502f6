"""Every public function and method of the package and its integrations, found by walking over what they export."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, get_type_hints

import condensed_data
import condensed_data_avalanche
import condensed_data_nas
import condensed_data_ray
from condensed_data import evaluation, recipes
from condensed_data.core.annotations import parameter_annotations
from condensed_data.core.spec import Spec

PACKAGES: tuple[ModuleType, ...] = (condensed_data, condensed_data_avalanche, condensed_data_nas, condensed_data_ray)


def public_functions() -> dict[str, Callable[..., Any]]:
    """By dotted name: exported functions, methods of exported classes, recipes, and studies of condensed datasets."""
    found = {f"recipes.{name}": recipes.function(name) for name in recipes.names()}
    for package in PACKAGES:
        for name in package.__all__:
            member = getattr(package, name)
            if isinstance(member, type):
                found |= dict(_methods(member))
            elif callable(member) and not isinstance(member, ModuleType):
                found[name] = member
    for info in pkgutil.walk_packages(evaluation.__path__, f"{evaluation.__name__}."):
        for name, member in vars(import_module(info.name)).items():
            own = inspect.isfunction(member) and member.__module__ == info.name and not name.startswith("_")
            if own and "condensed" in inspect.signature(member).parameters:
                found[name] = member
    return found


def _methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Public methods and `__init__` with annotated parameters; specifications and exceptions have other rules."""
    if issubclass(cls, Spec | BaseException):
        return
    for owner in cls.__mro__:
        if owner.__module__.partition(".")[0] not in {package.__name__ for package in PACKAGES}:
            continue
        for name, member in vars(owner).items():
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if isinstance(function, FunctionType) and (name == "__init__" or not name.startswith("_")):
                yield f"{owner.__name__}.{name}", function


def is_checked(function: Callable[..., Any] | None) -> bool:
    """Whether `checked` wraps the function, at any depth of its decorators."""
    while function is not None:
        if getattr(function, "__globals__", {}).get("__name__") == "condensed_data.core.annotations":
            return True
        function = getattr(function, "__wrapped__", None)
    return False


def annotated(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of the parameters, without those that take anything and without `return`."""
    if isinstance(function, type):  # a dataclass
        hints = get_type_hints(function, include_extras=True)
        return {name: hints[name] for name in inspect.signature(function).parameters if hints[name] is not Any}
    return {name: kind for name, kind in parameter_annotations(function).items() if kind is not Any}
