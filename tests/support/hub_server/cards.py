"""Parses the YAML header of a card, as far as search and checks need it.

A subset: top-level `key: value` with JSON or a plain text as value, or a list of plain texts below the key. Deeper
structures below a key are skipped.
"""

from __future__ import annotations

import json
import re
from typing import Any

_FRONT = re.compile(rb"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_PREFIXED = ("license", "task_categories", "size_categories", "language")


class CardError(ValueError):
    """The YAML header of a card is invalid."""


def read(card: bytes) -> dict[str, Any]:
    """The top-level fields.

    Raises:
        CardError: naming the line, for what is not YAML of this kind.
    """
    front = _FRONT.match(card)
    fields: dict[str, Any] = {}
    key = ""
    for line in front[1].decode().splitlines() if front else []:
        if re.fullmatch(r"\s*(#.*)?", line):
            continue
        if item := re.fullmatch(r"\s*-\s+([^:{\[]+?)\s*", line):
            if key and isinstance(fields[key], list):
                fields[key].append(item[1].strip("'\""))
        elif named := re.fullmatch(r"([A-Za-z_][\w-]*):(?:\s+(.*))?", line):
            key = named[1]
            if key in fields:
                raise CardError(f"duplicated mapping key {key!r}")
            fields[key] = _value(named[2])
        elif not key or not line.startswith((" ", "-", "]", "}")):
            raise CardError(f"bad line {line!r}")
    return fields


def _value(text: str | None) -> Any:
    if not text:
        return []
    if text[0] in '{["' or text in ("true", "false", "null"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            if text[0] == '"':
                raise CardError(f"bad value {text!r}") from error
    return text.strip("'")


def tags(fields: dict[str, Any]) -> list[str]:
    """Tags as the Hub derives them: those of the card, and those that name their field."""
    found = [str(tag) for tag in _list(fields.get("tags"))]
    for key in _PREFIXED:
        found += [f"{key}:{value}" for value in _list(fields.get(key))]
    return found


def _list(value: Any) -> list[Any]:
    if value in (None, []):
        return []
    return list(value) if isinstance(value, list) else [value]
