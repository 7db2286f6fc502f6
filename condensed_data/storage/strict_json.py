"""Parses untrusted JSON strictly, and writes JSON in one canonical form.

Python's parser accepts more than JSON (NaN, Infinity, 1e999, repeated keys of which the last wins, escapes for half a
character) and nests as deep as its stack. Here all of this is refused before the data is used.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from condensed_data.core.errors import ArtifactError, short_repr

_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which UTF-8 cannot encode
_MAX_DEPTH = 64
_MAX_DIGITS = 20  # of an integer; int64 has 19, and conversion time grows quadratically


def loads(raw: bytes, where: str) -> dict[str, Any]:
    """Parse one JSON object from the UTF-8 text in the file at `where`; the caller bounds its length.

    Raises:
        ArtifactError: for anything but one JSON object with unique keys and finite numbers.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short,
        )
    except RecursionError as error:
        raise ArtifactError.mismatch(where, "too deeply nested JSON", f"at most {_MAX_DEPTH} levels") from error
    except ValueError as error:  # also raised by the hooks, and for bytes that are not UTF-8
        raise ArtifactError.mismatch(where, f"invalid JSON ({error})", "one JSON object in UTF-8") from error
    if not isinstance(value, dict):
        raise ArtifactError.mismatch(where, f"a JSON {type(value).__name__}", "a JSON object")
    check(value, where)
    return value


def check(value: Any, where: str) -> None:
    """Refuse nesting deeper than 64 levels and strings that cannot be encoded as UTF-8."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise ArtifactError.mismatch(where, "too deeply nested JSON", f"at most {_MAX_DEPTH} levels")
        for item in level:
            if isinstance(item, str) and _SURROGATE.search(item):
                raise ArtifactError.mismatch(where, f"the string {short_repr(item)}", "text that UTF-8 can encode")
        level = [child for item in level for child in _children(item)]


def pretty(value: Any) -> bytes:
    """Canonical form for people: sorted keys, indented by two spaces, a list of plain values on one line."""
    return (_pretty(value, "\n") + "\n").encode()


def compact(value: Any) -> bytes:
    """Canonical form for checksums: sorted keys, no spaces."""
    return _dump(value, (",", ":")).encode()


def _dump(value: Any, separators: tuple[str, str] = (", ", ": ")) -> str:
    return json.dumps(value, sort_keys=True, separators=separators, ensure_ascii=False, allow_nan=False)


def _pretty(value: Any, newline: str) -> str:
    inner = newline + "  "
    if isinstance(value, dict) and value:
        items = [f"{_dump(key)}: {_pretty(value[key], inner)}" for key in sorted(value)]
        return "{" + inner + ("," + inner).join(items) + newline + "}"
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        return "[" + inner + ("," + inner).join(_pretty(item, inner) for item in value) + newline + "]"
    return _dump(value)


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    return list(item) if isinstance(item, list | tuple) else []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {short_repr(key)} occurs twice")
        found[key] = value
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"the number {text}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {short_repr(text)}, which is not finite")
    return value


def _short(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)
