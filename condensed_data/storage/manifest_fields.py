"""Checks of the manifest: one table of the fields with their allowed values, and consistency between fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from condensed_data.core.errors import ArtifactError, short_repr
from condensed_data.storage.file_names import PREVIEW, TENSORS

Check = Callable[[Any], bool]
Field = tuple[Check, str]  # and what it accepts, in words
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


def is_text(value: Any, max_length: int = 1000) -> bool:
    """Whether `value` is a string of at most `max_length` characters."""
    return isinstance(value, str) and len(value) <= max_length


def list_of(valid: Check, least: int = 0, most: int = _LIMIT) -> Check:
    """Accepts lists of `least` to `most` items that all satisfy `valid`."""
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(valid, value))


def _object(**fields: Check) -> Check:
    """Accepts objects that have at least these fields."""
    return lambda value: (
        isinstance(value, dict) and all(name in value and valid(value[name]) for name, valid in fields.items())
    )


def _integer(low: int) -> Check:
    return lambda value: type(value) is int and low <= value < _LIMIT


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _one_of(*values: str) -> Check:
    return lambda value: value in values


def _optional(valid: Check) -> Check:
    return lambda value: value is None or valid(value)


def _matches(pattern: str) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_files(value: Any) -> bool:
    valid = _object(sha256=_DIGEST, size=_integer(0))
    known = isinstance(value, dict) and {TENSORS} <= value.keys() <= {TENSORS, PREVIEW}
    return known and all(map(valid, value.values()))


def _is_replay(value: Any) -> bool:
    valid = _object(
        network=lambda form: form is None or isinstance(form, str | dict),
        initial=_one_of("new", "stored", "given"),
        digest=_optional(lambda text: is_text(text, 100)),
        head=_one_of("loaded", "zeroed"),
        weights=lambda names: list_of(is_text)(names) and len(set(names)) == len(names),
    )
    return valid(value) and bool(value["weights"]) == (value["initial"] == "stored")


_DIGEST = _matches("[0-9a-f]{64}")
_POSITIVE = _integer(1)
_SPACES = ("unit", "uint8", "source", "standardized")
_SOURCE = _object(name=is_text, fingerprint=_optional(is_text), num_samples=_optional(_integer(0)))
_VALUE_SPACE = _object(
    kind=_one_of(*_SPACES),
    mean=list_of(_number, 1),
    std=list_of(lambda item: _number(item) and item > 0, 1),
)

DESCRIBED: dict[str, Field] = {
    "name": (is_text, "a string"),
    "num_classes": (_POSITIVE, "an integer of at least 1"),
    "class_names": (list_of(is_text), "a list of strings"),
    "class_values": (list_of(_integer(-_LIMIT)), "a list of integers"),
    "shape": (list_of(_POSITIVE, 1, 7), "a list of 1 to 7 integers of at least 1"),
    "sample_kind": (_matches(r"(pil|tensor):[A-Za-z0-9;_]{1,16}"), "text like 'pil:RGB' or 'tensor:float32'"),
    "value_space": (
        _VALUE_SPACE,
        f"an object with a kind ({', '.join(_SPACES)}), a mean of finite numbers and a std of positive numbers",
    ),
    "label": (_object(kind=_one_of("index", "probs", "scores")), "an object with a kind (index, probs, scores)"),
    "encoding": (_object(part=is_text), "an object with the name of a synthetic data spec (part)"),
    "recipe": (_optional(_object()), "an object or null"),
    "recipe_name": (is_text, "a string"),
    "ipc": (_POSITIVE, "an integer of at least 1"),
    "seed": (_integer(-_LIMIT), "an integer"),
    "iterations": (_integer(0), "an integer of at least 0"),
    "source": (_SOURCE, "an object with name, fingerprint and num_samples"),
    "training": (_object(), "an object"),
    "evaluation": (list_of(_object()), "a list of objects"),
    "environment": (lambda v: isinstance(v, dict) and all(map(is_text, v.values())), "an object of strings"),
    "history": (list_of(list_of(_number, 2, 2)), "a list of [iteration, loss]"),
}
OPTIONAL: dict[str, Field] = {
    "baselines": (
        list_of(_object(trained_on=is_text)),
        "a list of objects with the name of a training set (trained_on)",
    ),
    "num_samples": (_optional(_POSITIVE), "an integer of at least 1 or null"),
    "stored_floats": (_optional(_POSITIVE), "an integer of at least 1 or null"),
    "source_classes": (_optional(list_of(is_text)), "a list of strings or null"),
    "cache_key": (_optional(_DIGEST), "64 hexadecimal digits or null"),
    "replay": (
        _is_replay,
        'an object with network, initial ("new", "stored" or "given"), digest, head, and the names of stored weights',
    ),
}
COMPUTED: dict[str, Field] = {
    "files": (_is_files, f"an object of {TENSORS} and optionally {PREVIEW}, each with sha256 and size"),
    "content_hash": (_DIGEST, "64 hexadecimal digits"),
}
