"""Argument checks; every error names the argument, its value and what is accepted."""

from __future__ import annotations

from collections.abc import Collection

from condensed_data.core.spec import DataDefault


def check_count(part: str, name: str, value: object, least: int = 1) -> None:
    """Raise unless `value` is an integer of at least `least`. A `DataDefault` is checked once it is resolved.

    Args:
        part: class or function that takes the argument, for the error.
        name: of the argument.

    Raises:
        ValueError: for any other value.
    """
    if isinstance(value, DataDefault):
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{part}({name}={value!r}) must be an integer of at least {least}.")


def check_choice(part: str, name: str, value: object, choices: Collection[object]) -> None:
    """Raise ValueError unless `value` is one of `choices`; a `DataDefault` is checked once it is resolved."""
    if not isinstance(value, DataDefault) and value not in choices:
        raise ValueError(f"{part}({name}={value!r}) must be one of {', '.join(map(repr, choices))}.")
