"""Bytes for people, both ways."""

from __future__ import annotations

import re

_UNITS = ("B", "kB", "MB", "GB", "TB")


def readable(size: float) -> str:
    """1500000000 -> "1.5 GB"."""
    for unit in _UNITS[:-1]:
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {_UNITS[-1]}"


def parse_bytes(text: str) -> int:
    """From "1.5 GB" to 1500000000; a bare number is bytes.

    Raises:
        ValueError: for anything else.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)i?[bB]?\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is no number of bytes. Write for instance 500MB or 3GB.")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))
