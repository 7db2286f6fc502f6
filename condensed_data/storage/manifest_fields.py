"""Checks of the manifest: one table of the fields with their allowed values, and consistency between fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from condensed_data.core.errors import ArtifactError, short_repr
from condensed_data.storage import file_names

Field = tuple[Callable[[Any], bool], str]
_LIMIT = 1 << 63


def check(manifest: Mapping[str, Any], fields: Mapping[str, Field], where: str) -> None:
    """Check that every field is present and has an allowed value.

    Raises:
        ArtifactError: with the field, its value and what is allowed.
    """
    for name, (valid, expected) in fields.items():
        if name not in manifest:
            raise ArtifactError.mismatch(where, f"no field {name!r}", expected)
        if not valid(manifest[name]):
            raise ArtifactError.mismatch(where, f"{name} = {short_repr(manifest[name])}", expected)


def check_consistency(manifest: Mapping[str, Any], where: str) -> None:
    """Check that fields with allowed values are consistent with each other.

    Raises:
        ArtifactError: with the two fields that disagree.
    """
    check(manifest, {name: field for name, field in OPTIONAL.items() if name in manifest}, where)
    if ("replay" in manifest) != ("replay" in manifest.get("required_features", [])):
        raise ArtifactError.mismatch(
            where, "only one of them", "both a field and a required feature 'replay', or neither"
        )
    classes, space = manifest["num_classes"], manifest["value_space"]
    for name in ("class_names", "class_values"):
        if len(manifest[name]) != classes:
            raise ArtifactError.mismatch(where, f"{len(manifest[name])} {name}", f"num_classes = {classes}")
    if len(set(manifest["class_values"])) != classes:
        raise ArtifactError.mismatch(where, "repeated class_values", "distinct class_values")
    if (space.get("whitening", "none") == "zca") != ("zca" in manifest.get("required_features", [])):
        expected = "both 'whitening': 'zca' and a required feature 'zca', or neither"
        raise ArtifactError.mismatch(where, "only one of them", expected)
    for name in ("mean", "std"):
        if len(space[name]) not in (1, manifest["shape"][0]):
            expected = f"1 or {manifest['shape'][0]} numbers, one per channel of shape {manifest['shape']}"
            raise ArtifactError.mismatch(where, f"{name} of {len(space[name])} numbers", expected)


def _integer(value: Any, low: int = -_LIMIT) -> bool:
    return type(value) is int and low <= value < _LIMIT


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def is_text(value: Any, max_length: int = 1000) -> bool:
    """Whether `value` is a string of at most `max_length` characters."""
    return isinstance(value, str) and len(value) <= max_length


def list_of(value: Any, valid: Callable[[Any], bool], least: int = 0) -> bool:
    """Whether `value` is a list of at least `least` items that all satisfy `valid`."""
    return isinstance(value, list) and len(value) >= least and all(map(valid, value))


def _object(value: Any, **fields: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(name in value and valid(value[name]) for name, valid in fields.items())


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_files(value: Any) -> bool:
    entry = {"sha256": _matches("[0-9a-f]{64}"), "size": lambda size: _integer(size, 0)}
    known = isinstance(value, dict) and {file_names.TENSORS} <= value.keys() <= {file_names.TENSORS, file_names.PREVIEW}
    return known and all(_object(item, **entry) for item in value.values())


_OBJECT: Field = (lambda v: isinstance(v, dict), "an object")
_SPACES = ("unit", "uint8", "source", "standardized")
DESCRIBED: dict[str, Field] = {
    "name": (is_text, "a string"),
    "num_classes": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "class_names": (lambda v: list_of(v, is_text), "a list of strings"),
    "class_values": (lambda v: list_of(v, _integer), "a list of integers"),
    "shape": (
        lambda v: list_of(v, lambda item: _integer(item, 1), least=1) and len(v) <= 7,
        "a list of 1 to 7 integers of at least 1",
    ),
    "sample_kind": (_matches(r"(pil|tensor):[A-Za-z0-9;_]{1,16}"), "text like 'pil:RGB' or 'tensor:float32'"),
    "value_space": (
        lambda v: _object(
            v,
            kind=lambda kind: kind in _SPACES,
            mean=lambda mean: list_of(mean, _number, least=1),
            std=lambda std: list_of(std, lambda item: _number(item) and item > 0, least=1),
        ),
        f"an object with a kind ({', '.join(_SPACES)}), a mean of finite numbers and a std of positive numbers",
    ),
    "label": (
        lambda v: _object(v, kind=lambda kind: kind in ("index", "probs")),
        "an object with a kind (index, probs)",
    ),
    "encoding": (lambda v: _object(v, part=is_text), "an object with the name of a synthetic data spec (part)"),
    "recipe": (lambda v: v is None or isinstance(v, dict), "an object or null"),
    "recipe_name": (is_text, "a string"),
    "ipc": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "seed": (_integer, "an integer"),
    "iterations": (lambda v: _integer(v, 0), "an integer of at least 0"),
    "source": (
        lambda v: _object(
            v,
            name=is_text,
            fingerprint=lambda text: text is None or is_text(text),
            num_samples=lambda count: count is None or _integer(count, 0),
        ),
        "an object with name, fingerprint and num_samples",
    ),
    "training": _OBJECT,
    "evaluation": (lambda v: list_of(v, lambda item: isinstance(item, dict)), "a list of objects"),
    "environment": (lambda v: isinstance(v, dict) and all(map(is_text, v.values())), "an object of strings"),
    "history": (
        lambda v: list_of(v, lambda point: list_of(point, _number) and len(point) == 2),
        "a list of [iteration, loss]",
    ),
}
OPTIONAL: dict[str, Field] = {
    "baselines": (
        lambda v: list_of(v, lambda item: _object(item, trained_on=is_text)),
        "a list of objects with the name of a training set (trained_on)",
    ),
    "num_samples": (lambda v: v is None or _integer(v, 1), "an integer of at least 1 or null"),
    "stored_floats": (lambda v: v is None or _integer(v, 1), "an integer of at least 1 or null"),
    "cache_key": (lambda v: v is None or _matches("[0-9a-f]{64}")(v), "64 hexadecimal digits or null"),
    "replay": (
        lambda v: (
            _object(
                v,
                network=lambda form: form is None or isinstance(form, str | dict),
                initial=lambda kind: kind in ("new", "stored", "given"),
                digest=lambda text: text is None or is_text(text, 100),
                head=lambda head: head in ("loaded", "zeroed"),
                weights=lambda names: list_of(names, is_text) and len(set(names)) == len(names),
            )
            and bool(v["weights"]) == (v["initial"] == "stored")
        ),
        'an object with network, initial ("new", "stored" or "given"), digest, head, and the names of stored weights',
    ),
}
COMPUTED: dict[str, Field] = {
    "files": (
        _is_files,
        f"an object of {file_names.TENSORS} and optionally {file_names.PREVIEW}, each with sha256 and size",
    ),
    "content_hash": (_matches("[0-9a-f]{64}"), "64 hexadecimal digits"),
}
