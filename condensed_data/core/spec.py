"""Specifications: frozen dataclasses that are configuration, documentation and cache key at once.

A `Spec` describes a part of a method. Its canonical form (`to_json`) is plain JSON with the class name, a
version that is raised when the part's numbers change, and its fields; `from_json` turns it back into the
registered class, so that a stored recipe is rebuilt without importing anything named in a file. A field may
hold a `DataDefault`, a published default that depends on the data; `resolve` makes rules concrete before a run.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

_REGISTRY: dict[str, type[Spec]] = {}
_EXACT = 2**53  # up to here a float holds every whole number
T = TypeVar("T")


class Spec:
    """Base of every frozen specification; subclasses are registered by class name."""

    version: ClassVar[int] = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            _REGISTRY[cls.__name__] = cls


@dataclass(frozen=True)
class DatasetInfo:
    """What a rule may look at.

    Attributes:
        sample_shape: shape of one sample, without the batch.
        classes: class names; `named` tells whether the source gave them or they are only its label values.
        ipc: samples stored per class.
        samples: size of the source, or None where it is not known.
    """

    sample_shape: tuple[int, ...]
    classes: tuple[str, ...]
    ipc: int
    named: bool = True
    samples: int | None = None


class DataDefault(Spec, ABC):
    """A default that depends on the data, made concrete by `resolve`."""

    @abstractmethod
    def __call__(self, facts: DatasetInfo) -> Any:
        """The value for these facts."""


@dataclass(frozen=True)
class NamedCallable(Spec):
    """A user's callable with a name, so that it can stand in a stored recipe and in a cache key.

    Args:
        name: identifies the callable's behavior; change it when the behavior changes.
        function: called as is. It is not stored: a recipe read from a file keeps only the name.
    """

    name: str
    function: Callable[..., Any] = dataclasses.field(compare=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


class UnnamedCallableError(ValueError):
    """A recipe holds a callable that has no canonical form."""


def resolve(spec: T, facts: DatasetInfo) -> T:
    """Replace every `DataDefault` inside `spec` by its value for `facts`."""
    if isinstance(spec, DataDefault):
        return resolve(spec(facts), facts)
    if isinstance(spec, tuple):
        return tuple(resolve(item, facts) for item in spec)  # type: ignore[return-value]
    if isinstance(spec, Spec) and dataclasses.is_dataclass(spec):
        changes = {f.name: resolve(getattr(spec, f.name), facts) for f in dataclasses.fields(spec) if f.init}
        return dataclasses.replace(spec, **changes)
    return spec


def require_resolved(value: T | DataDefault) -> T:
    """A value that is no rule any more.

    Raises:
        TypeError: for a rule: the recipe was not resolved.
    """
    if isinstance(value, DataDefault):
        raise TypeError(f"{value} is a rule: resolve the recipe first.")
    return value


def to_json(value: Any) -> Any:
    """The canonical JSON form of a specification (dictionaries, lists, strings, numbers, booleans, None).

    Fields that are not compared are no part of it, as they are no part of equality.

    Raises:
        UnnamedCallableError: for a callable that is neither a `Spec` nor `NamedCallable`.
        TypeError: for any other value that is no plain data.
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
        return int(value)  # lr=1 and lr=1.0 are equal, so they have one form
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        name = getattr(value, "__qualname__", repr(value))
        raise UnnamedCallableError(
            f"{name} has no canonical form. Wrap it as NamedCallable('a-name', {name}) so that results can be cached."
        )
    raise TypeError(f"A recipe cannot hold {value!r} of type {type(value).__name__}.")


def from_json(value: Any) -> Any:
    """Rebuild what `to_json` wrote, from registered classes only.

    Raises:
        ValueError: for a part that this version does not know, or with fields or a version it does not know.
    """
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    fields = {key: item for key, item in value.items() if key not in ("part", "version")}
    cls = _REGISTRY.get(str(value.get("part")))
    if cls is None or cls is NamedCallable:
        raise ValueError(f"This version does not know the part {value.get('part')!r}.")
    if value.get("version") != cls.version:
        raise ValueError(
            f"{cls.__name__}: version {value.get('version')!r} is stored, this is {cls.version}."
        )
    try:
        return cls(**{key: from_json(item) for key, item in fields.items()})
    except TypeError as error:
        raise ValueError(f"{cls.__name__} cannot be rebuilt: {error}.") from error


def iter_fields(spec: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every settable field below `spec`, as (dotted path, value)."""
    if isinstance(spec, tuple):
        items = [(str(index), item) for index, item in enumerate(spec)]
    elif isinstance(spec, Spec) and dataclasses.is_dataclass(spec):
        items = [(f.name, getattr(spec, f.name)) for f in dataclasses.fields(spec)]
    else:
        return
    for name, item in items:
        yield prefix + name, item
        yield from iter_fields(item, f"{prefix}{name}.")


def set_field(spec: T, path: str, value: Any) -> T:
    """A copy of `spec` with the field at `path` set; a bare field name that occurs once is enough.

    A name that stands for the same field of several terms (the batch of both terms of a recipe, say) sets all
    of them when they hold equal values now.

    Raises:
        ValueError: for an unknown path (the known ones are listed) or an ambiguous one; for a value that the
            field cannot hold.
    """
    known = dict(iter_fields(spec))
    full = [known_path for known_path in known if known_path == path or known_path.endswith("." + path)]
    if not full:
        listing = ", ".join(sorted(known_path for known_path in known if not known_path[-1].isdigit()))
        raise ValueError(f"Unknown field {path!r}. Known fields: {listing}.")
    if path in known:
        full = [path]
    elif any(known[other] != known[full[0]] for other in full):
        raise ValueError(f"Field {path!r} is ambiguous: {', '.join(full)}. Give one of these.")
    try:
        for one in full:
            spec = _set_field(spec, one.split("."), value)
    except TypeError as error:
        raise ValueError(f"Field {path!r} cannot be {value!r}: {error}.") from error
    return spec


def _set_field(spec: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    head, rest = steps[0], steps[1:]
    if isinstance(spec, tuple):
        index = int(head)
        return (*spec[:index], _set_field(spec[index], rest, value), *spec[index + 1 :])
    return dataclasses.replace(spec, **{head: _set_field(getattr(spec, head), rest, value)})


def parse(text: str) -> Any:
    """A field's value from the command line: a literal, a part such as `ConvNet(width=64)`, or text.

    Words inside a tuple or a part need no quotes: `SiameseAugment(ops=(color, crop))`.

    Raises:
        ValueError: for a call of something that is no registered part, or with fields that it does not take.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return text
    return _value(node, text.strip(), text)


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments in text such as `bdm(base=dm, k=10)`; a bare name has no arguments.

    Raises:
        ValueError: for text that is neither, and for arguments without a name.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        node = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        return node.func.id, _keywords(node, text.strip())
    if "(" in text:
        raise ValueError(f"{text!r} cannot be read. Write NAME or NAME(FIELD=VALUE, ...).")
    return text.strip(), {}


def _keywords(node: ast.Call, source: str) -> dict[str, Any]:
    return {str(keyword.arg): _value(keyword.value, source) for keyword in node.keywords}


def _value(node: ast.expr, source: str, text: str | None = None) -> Any:
    """The value of a node of `source`; where it is neither a part nor a literal, its text as it was written."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _part(node.func.id, [_value(item, source) for item in node.args], _keywords(node, source))
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(item, source) for item in node.elts)
    if isinstance(node, ast.Name) and node.id in _parts():
        return _part(node.id, [], {})
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return ast.get_source_segment(source, node) if text is None else text


def _parts() -> dict[str, type[Spec]]:
    """What can be written in a field: every registered class that has values."""
    return {
        name: cls
        for name, cls in _REGISTRY.items()
        if cls is not NamedCallable and not inspect.isabstract(cls)
    }


def _part(name: str, arguments: list[Any], keywords: dict[str, Any]) -> Spec:
    known = _parts()
    if name not in known:
        raise ValueError(f"Unknown part {name!r}. Known parts: {', '.join(sorted(known))}.")
    try:
        return known[name](*arguments, **keywords)
    except TypeError as error:
        fields = ", ".join(inspect.signature(known[name]).parameters)
        raise ValueError(f"{name} cannot be built: {error}. Its fields: {fields or 'none'}.") from error


def validate(spec: Any, sample_shape: tuple[int, ...]) -> None:
    """Ask every part below `spec` that has a `validate(sample_shape)` whether it can work on such samples."""
    checker = getattr(spec, "check", None)
    if isinstance(spec, Spec) and callable(checker):
        checker(sample_shape)
    for _, value in iter_fields(spec):
        checker = getattr(value, "check", None)
        if isinstance(value, Spec) and callable(checker):
            checker(sample_shape)
