"""Specifications: frozen dataclasses that are configuration, documentation and cache key at once.

A `Spec` describes a part of a method. Its canonical form (`to_json`) is plain JSON with the class name, a version that
is raised when the part's results change, and its fields. `from_json` rebuilds it from registered classes only, so that
no file can name code to import. A field may hold a `DataDefault`, a default that depends on the data; `resolve`
replaces it by its value before a run.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, TypeVar

from condensed_data.core.annotations import check_fields
from condensed_data.core.errors import short_repr
from condensed_data.core.names import did_you_mean

_REGISTRY: dict[str, type[Spec]] = {}
_EXACT = 2**53  # a float represents every integer up to here
T = TypeVar("T")


class Spec:
    """Base class of all specifications, which are frozen dataclasses; subclasses are registered by class name.

    Making one with a value outside the documented range or choices of a field raises ValueError; counts are positive
    unless stated otherwise.
    """

    version: ClassVar[int] = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            _REGISTRY[cls.__name__] = cls
        if "__post_init__" in vars(cls):
            cls.__post_init__ = _after_types(cls.__post_init__)  # type: ignore[method-assign, assignment]

    def __post_init__(self) -> None:
        """Raise ValueError for a field whose value is not of the annotated type. Runs before that of a subclass."""
        check_fields(self)


def _after_types(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """The `__post_init__` of a subclass, which may rely on the types of the fields."""

    @wraps(check)
    def checks(self: Spec) -> None:
        Spec.__post_init__(self)
        check(self)

    return checks


@dataclass(frozen=True)
class DatasetInfo:
    """Properties of the data, from which a `DataDefault` computes its value.

    Attributes:
        sample_shape: shape of one sample, without the batch dimension.
        classes: class names.
        ipc: samples stored per class.
        named: whether the source has class names; else `classes` are its label values.
        samples: size of the source; None if unknown.
    """

    sample_shape: tuple[int, ...]
    classes: tuple[str, ...]
    ipc: int
    named: bool = True
    samples: int | None = None


class DataDefault(Spec, ABC):
    """A default value that depends on the data; `resolve` computes it."""

    @abstractmethod
    def __call__(self, info: DatasetInfo) -> Any:
        """The value for this data."""


@dataclass(frozen=True)
class NamedCallable(Spec):
    """A user's callable with a name, which represents it in stored recipes and cache keys.

    Args:
        name: identifies the callable's behavior; change it when the behavior changes.
        function: the callable; not stored, only its name is.
    """

    name: str
    function: Callable[..., Any] = dataclasses.field(compare=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


class UnnamedCallableError(ValueError):
    """Raised for a recipe with a callable that has no canonical form."""


def resolve(spec: T, info: DatasetInfo) -> T:
    """A copy of `spec` with every `DataDefault` in it replaced by its value for this data."""
    if isinstance(spec, DataDefault):
        return resolve(spec(info), info)
    if isinstance(spec, tuple):
        return tuple(resolve(item, info) for item in spec)  # type: ignore[return-value]
    if isinstance(spec, Spec) and dataclasses.is_dataclass(spec):
        changes = {f.name: resolve(getattr(spec, f.name), info) for f in dataclasses.fields(spec) if f.init}
        return dataclasses.replace(spec, **changes)
    return spec


def require_resolved(value: T | DataDefault) -> T:
    """Return `value`; raise TypeError for a `DataDefault`, because the recipe was not resolved."""
    if isinstance(value, DataDefault):
        raise TypeError(f"{value} has no value yet: resolve the recipe first.")
    return value


def to_json(value: Any) -> Any:
    """The canonical JSON form of a specification (dictionaries, lists, strings, numbers, booleans, None).

    Fields that are not compared (`compare=False`) are left out.

    Raises:
        UnnamedCallableError: for a callable that is neither a `Spec` nor a `NamedCallable`.
        TypeError: for any other value that is not plain data.
    """
    if isinstance(value, NamedCallable):
        return {"part": "NamedCallable", "name": value.name}
    if isinstance(value, Spec) and dataclasses.is_dataclass(value):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
        return {"part": type(value).__name__, "version": type(value).version, **fields}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"A recipe cannot hold {value!r}: use None or a large finite number.")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)  # lr=1 and lr=1.0 are equal and need equal cache keys
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        name = getattr(value, "__qualname__", repr(value))
        raise UnnamedCallableError(
            f"{name} has no canonical form. Wrap it as NamedCallable('a-name', {name}) so that results can be cached."
        )
    raise TypeError(f"A recipe cannot hold {value!r} of type {type(value).__name__}.")


def from_json(value: Any) -> Any:
    """Rebuild a specification from its canonical JSON form, using registered classes only.

    Raises:
        ValueError: for an unknown class, version or field.
    """
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    fields = {key: item for key, item in value.items() if key not in ("part", "version")}
    cls = _REGISTRY.get(str(value.get("part")))
    if cls is None or cls is NamedCallable:
        raise ValueError(f"This release of condensed-data has no part {value.get('part')!r}.")
    if value.get("version") != cls.version:
        raise ValueError(
            f"{cls.__name__}: the stored version is {value.get('version')!r}; this release reads version {cls.version}."
        )
    rebuilt = {key: from_json(item) for key, item in fields.items()}
    try:
        return cls(**rebuilt)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{cls.__name__} cannot be rebuilt: {error}") from error


def registered_parts() -> dict[str, type[Spec]]:
    """All registered classes that can be instantiated, by name, without `NamedCallable`."""
    return {name: cls for name, cls in _REGISTRY.items() if cls is not NamedCallable and not inspect.isabstract(cls)}


def iter_fields(spec: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All fields of `spec` and of the parts in it, as (dotted path, value)."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(spec, tuple):
        items = enumerate(spec)
    elif isinstance(spec, Spec) and dataclasses.is_dataclass(spec):
        items = [(f.name, getattr(spec, f.name)) for f in dataclasses.fields(spec)]
    for name, item in items:
        yield f"{prefix}{name}", item
        yield from iter_fields(item, f"{prefix}{name}.")


def set_field(spec: T, path: str, value: Any) -> T:
    """A copy of `spec` with another value of the field at `path`.

    The end of a path is enough if it is unique, or if all fields that it matches have equal values, such as
    `batch` in both terms of a recipe; then all of them are set.

    Raises:
        ValueError: for an unknown path (the known ones are listed), an ambiguous one, or a value that the field cannot
            have.
    """
    known = dict(iter_fields(spec))
    matches = [name for name in known if name == path or name.endswith("." + path)]
    if not matches:
        listing = ", ".join(sorted(name for name in known if not name[-1].isdigit()))
        raise ValueError(f"Unknown field {path!r}.{_similar_field(path, known)} Known fields: {listing}.")
    if path in known:
        matches = [path]
    elif any(known[name] != known[matches[0]] for name in matches):
        raise ValueError(f"Field {path!r} is ambiguous: {', '.join(matches)}. Give one of these.")
    try:
        for name in matches:
            spec = _set_field(spec, name.split("."), value)
    except TypeError as error:
        raise ValueError(f"Field {path!r} cannot be {short_repr(value)}: {error}") from error
    return spec


def _similar_field(path: str, known: Iterable[str]) -> str:
    """A suggestion by the whole path, or by the end of a path, which is enough in `set_field`."""
    return did_you_mean(path, known) or did_you_mean(path, {name.rpartition(".")[2] for name in known})


def _set_field(spec: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    head, rest = steps[0], steps[1:]
    if isinstance(spec, tuple):
        index = int(head)
        return (*spec[:index], _set_field(spec[index], rest, value), *spec[index + 1 :])
    return dataclasses.replace(spec, **{head: _set_field(getattr(spec, head), rest, value)})


def validate(spec: Any, sample_shape: tuple[int, ...]) -> None:
    """Call `check(sample_shape)` of `spec` and its parts: those that cannot process such samples raise ValueError."""
    for part in (spec, *(value for _, value in iter_fields(spec))):
        check = getattr(part, "check", None)
        if isinstance(part, Spec) and callable(check):
            check(sample_shape)
