"""Checks of values against annotations: of the fields of specifications, and of the arguments of public functions.

Annotations are the one place that says what an argument takes. `Annotated` adds a range to a type: `Count` is an
integer of at least 1. Parameters without an annotation, or with `Any`, take anything.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, wraps
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from condensed_data.core.errors import short_repr
from condensed_data.core.names import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")

_NOUNS = {int: "an integer", float: "a finite number", bool: "True or False", str: "a string", type(None): "None"}


@dataclass(frozen=True)
class AtLeast:
    """The range of a number, for `Annotated`."""

    least: float

    def __call__(self, value: Any) -> bool:
        return bool(value >= self.least)

    def __str__(self) -> str:
        return f"of at least {self.least:g}"


class NotEmpty:
    """At least one character or item, for `Annotated`."""

    def __call__(self, value: Sized) -> bool:
        return len(value) > 0

    def __str__(self) -> str:
        return "that is not empty"


Count = Annotated[int, AtLeast(1)]
Natural = Annotated[int, AtLeast(0)]
NonNegative = Annotated[float, AtLeast(0)]
Text = Annotated[str, NotEmpty()]


def requirement(value: object, annotation: Any) -> str | None:
    """What an annotation requires, such as "an integer or None", or None if the value satisfies it.

    A `float` takes integers too, and no NaN or infinity; an `int` takes no `bool`; a `Sequence` takes no string.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(value, *arguments)
    if origin in (Union, types.UnionType):
        wanted = [requirement(value, argument) for argument in arguments]
        return None if None in wanted else _either(map(str, wanted))
    if origin is tuple:
        return _tuple(value, annotation)
    if origin is not None:
        return _generic(value, origin, arguments)
    if annotation is None:
        annotation = type(None)
    if annotation is Any or not isinstance(annotation, type) or _is_opaque(annotation):
        return None
    return None if _is_a(value, annotation) else _noun(annotation)


def _is_opaque(annotation: type) -> bool:
    """Whether it is a protocol that `isinstance` cannot check."""
    return getattr(annotation, "_is_protocol", False) and not getattr(annotation, "_is_runtime_protocol", False)


def _is_a(value: object, kind: type) -> bool:
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    return isinstance(value, kind)


def _annotated(value: object, annotation: Any, *rules: Callable[[Any], bool]) -> str | None:
    wanted = requirement(value, annotation)
    if wanted is None and all(rule(value) for rule in rules):
        return None
    return " ".join([wanted or _noun(annotation), *map(str, rules)])


def _tuple(value: object, annotation: Any) -> str | None:
    items = get_args(annotation)
    repeated = len(items) == 2 and items[1] is Ellipsis
    valid = isinstance(value, tuple) and (repeated or len(value) == len(items))
    if valid and isinstance(value, tuple):
        expected = [items[0]] * len(value) if repeated else items
        valid = all(requirement(item, one) is None for item, one in zip(value, expected, strict=True))
    return None if valid else _noun(annotation)


def _generic(value: object, origin: Any, arguments: tuple[Any, ...]) -> str | None:
    """Callables, sequences and mappings; iterables in general are not iterated."""
    if origin is Callable:
        return None if callable(value) else "callable"
    if not isinstance(origin, type):
        return None
    valid = isinstance(value, origin) and not (issubclass(origin, Sequence) and isinstance(value, str))
    items: Any = value if valid and issubclass(origin, Sequence | Mapping) else ()
    if valid and all(requirement(item, arguments[0]) is None for item in items):
        return None
    text = _with_article(origin.__name__.lower())
    return text if arguments[0] is Any else f"{text}, in which every item is {_noun(arguments[0])}"


def _noun(annotation: Any) -> str:
    """An annotation in words: "an integer", "a tuple (an integer, a string)", "a Recipe"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return " ".join([_noun(arguments[0]), *map(str, arguments[1:])])
    if origin in (Union, types.UnionType):
        return _either(map(_noun, arguments))
    if origin is Callable:
        return "callable"
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"a tuple ({', '.join(map(_noun, arguments))})"
    if origin is tuple:
        return f"a tuple, in which every item is {_noun(arguments[0])}"
    if annotation in _NOUNS:
        return _NOUNS[annotation]
    name = getattr(annotation, "__name__", str(annotation))
    return _with_article(name)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOUaeiou' else 'a'} {noun}"


def _either(nouns: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(nouns))


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a function against its annotations on every call. Use as a decorator.

    Annotations that can only be evaluated by a type checker are not checked.

    Raises:
        ValueError: when called with a value that an annotation excludes.
        TypeError: when called with arguments that the function does not have; the message names a similar one.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        name = _called_name(function, args)
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{name}(): {error}.{_similar(signature, kwargs)}") from None
        check_values(name, given, parameter_annotations(function))
        return function(*args, **kwargs)

    return call


def _called_name(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """The function's name as the caller knows it: a method's begins with the class that it was called on."""
    name = function.__qualname__.rpartition("<locals>.")[2]
    if "." not in name or not args:
        return name
    owner = args[0] if isinstance(args[0], type) else type(args[0])
    return owner.__name__ if function.__name__ == "__init__" else f"{owner.__name__}.{function.__name__}"


def check_fields(instance: Any) -> None:
    """Raise ValueError for a field of a dataclass whose value its annotation excludes. Call it in `__post_init__`."""
    check_values(type(instance).__name__, vars(instance), _field_annotations(instance.__class__))


@cache
def _field_annotations(cls: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def check_values(part: str, values: Mapping[str, object], annotations: Mapping[str, Any]) -> None:
    """Raise ValueError, "part(name=value) must be ...", for a value that its annotation excludes."""
    for name, value in values.items():
        wanted = requirement(value, annotations.get(name, Any))
        if wanted is not None:
            shown = "***" if name == "token" else short_repr(value)  # a secret of the wrong type is still one
            raise ValueError(f"{part}({name}={shown}) must be {wanted}.")


@cache
def parameter_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotation of every parameter, without `*args` and `**kwargs`, and without names for type checkers only."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if variadic or parameter.annotation is parameter.empty:
            continue
        holder = type("_", (), {"__annotations__": {name: parameter.annotation}})
        with suppress(NameError):
            found |= get_type_hints(holder, getattr(inspect.unwrap(function), "__globals__", {}), include_extras=True)
    return found


def _similar(signature: inspect.Signature, given: Mapping[str, object]) -> str:
    known = list(signature.parameters)
    return next((text for text in (did_you_mean(name, known) for name in given if name not in known) if text), "")
