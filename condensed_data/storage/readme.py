"""Merges a generated dataset card into README.md without touching what its owner wrote.

A card on the Hub begins with a YAML header between two lines of three dashes. Keys that the new card brings are
replaced, keys that only the previous generated card had are removed (the opening marker lists them), and all others
are kept as they are, comments included. Below the header, only the text between the markers is replaced.
"""

from __future__ import annotations

import re

_BEGIN = re.compile(r"<!-- condensed-data: begin\. Regenerated .* the keys \[(.*)\] above -->")
END = "<!-- condensed-data: end -->"

_FRONT = re.compile(r"\A---\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_KEYS = re.compile(r"^(?=[^\s#\-][^\n:]*:)", re.MULTILINE)


def merge(card: str, existing: str | None = None) -> str:
    """The new text of README.md.

    Args:
        card: the new card, optionally with a YAML header between lines of three dashes.
        existing: present text of README.md, or None. Merging the same card twice changes nothing.
    """
    front, body = split(card)
    keys = ", ".join(map(_key, _blocks(front)))
    begin = f"<!-- condensed-data: begin. Regenerated on every save, like the keys [{keys}] above -->"
    part = f"{begin}\n{body.strip()}\n{END}"
    if existing is None:
        return _join(front, f"\n{part}\n" if front else f"{part}\n")
    old_front, old_body = split(existing)
    found, end = _BEGIN.search(old_body), old_body.rfind(END)
    if found and found.end() < end:
        text = old_body[: found.start()] + part + old_body[end + len(END) :]
        return _join(_merge_front(front, old_front, found[1].split(", ")), text)
    return _join(_merge_front(front, old_front, []), f"{old_body.rstrip()}\n\n{part}\n")


def split(text: str) -> tuple[str, str]:
    """The YAML header without its dashes, empty if there is none, and the text below it."""
    found = _FRONT.match(text)
    return (found[1], text[found.end() :]) if found else ("", text)


def _join(front: str, body: str) -> str:
    return f"---\n{front}---\n{body}" if front else body


def _merge_front(new: str, old: str, former: list[str]) -> str:
    blocks = _blocks(new)
    known = {*former, *map(_key, blocks)}
    return "".join(blocks + [block for block in _blocks(old) if _key(block) not in known])


def _blocks(front: str) -> list[str]:
    """The lines of each top-level key."""
    return [block for block in _KEYS.split(front) if block.strip()]


def _key(block: str) -> str:
    return block.partition(":")[0].strip().strip("\"'")
