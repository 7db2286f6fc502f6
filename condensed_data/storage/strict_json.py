"""JSON that comes from outside, and the one form in which this package writes it.

Python's reader takes more than JSON (NaN, Infinity, 1e999, repeated keys of which the last wins, escapes that
are half a character) and nests as deep as its stack; what is refused here is refused before anyone uses it.
"""

from __future__ import annotations

import json
import math
from typing import Any

from condensed_data.core.errors import ArtifactError, mismatch_message, shown

_MAX_DEPTH = 64
_MAX_DIGITS = 20  # of an integer; int64 has 19, and conversion time grows with the square


def loads(raw: bytes, where: str) -> dict[str, Any]:
    """The object in `raw`.

    Args:
        raw: the UTF-8 text of one JSON object; the caller has bounded its length.
        where: the file, for messages.

    Raises:
        ArtifactError: for anything else than one JSON object with unique keys and finite numbers.
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
        raise ArtifactError(
            mismatch_message(where, "JSON nested too deep", f"at most {_MAX_DEPTH} levels")
        ) from error
    except ValueError as error:  # also what the hooks raise, and bytes that are no UTF-8
        raise ArtifactError(
            mismatch_message(where, f"no valid JSON ({error})", "one JSON object in UTF-8")
        ) from error
    if not isinstance(value, dict):
        raise ArtifactError(mismatch_message(where, f"a JSON {type(value).__name__}", "a JSON object"))
    check(value, where)
    return value


def check(value: Any, where: str) -> None:
    """Refuse nesting deeper than 64 levels and strings that have no UTF-8 form."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise ArtifactError(
                mismatch_message(where, "JSON nested too deep", f"at most {_MAX_DEPTH} levels")
            )
        for item in level:
            if isinstance(item, str) and not _encodable(item):
                raise ArtifactError(
                    mismatch_message(where, f"the string {shown(item)}", "text that UTF-8 can hold")
                )
        level = [child for item in level for child in _children(item)]


def pretty(value: Any) -> bytes:
    """The canonical form for people: sorted keys, two spaces, a list of plain values on one line."""
    return (_pretty(value, "\n") + "\n").encode()


def compact(value: Any) -> bytes:
    """The canonical form for checksums: sorted keys, no spaces."""
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


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} occurs twice")
        found[key] = value
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"the number {text}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shown(text)}, which is not finite")
    return value


def _short(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)
