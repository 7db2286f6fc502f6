"""Argument checks; every error names the argument, its value and what is accepted."""

from __future__ import annotations

from collections.abc import Collection

from condensed_data.core.spec import DataDefault


def is_count(value: object, least: int = 1) -> bool:
    """Whether `value` is an integer (not a bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_count(part: str | None, name: str, value: object, least: int = 1, optional: bool = False) -> None:
    """Raise unless `value` is an integer of at least `least`. A `DataDefault` is checked once it is resolved.

    Args:
        part: class or function that takes the argument, for the error; None if the call makes it clear.
        name: of the argument.
        value: of the argument.
        least: smallest integer that is accepted.
        optional: accept None.

    Raises:
        ValueError: for any other value.
    """
    if optional and value is None:
        return
    if not isinstance(value, DataDefault) and not is_count(value, least):
        raise ValueError(f"{_argument(part, name, value)} must be an integer of at least {least}.")


def check_choice(part: str | None, name: str, value: object, choices: Collection[object]) -> None:
    """Raise unless `value` is one of `choices`. A `DataDefault` is checked once it is resolved.

    Args:
        part, name, value: see `check_count`.
        choices: accepted values.

    Raises:
        ValueError: for any other value.
    """
    if not isinstance(value, DataDefault) and value not in choices:
        raise ValueError(f"{_argument(part, name, value)} must be one of {', '.join(map(repr, choices))}.")


def _argument(part: str | None, name: str, value: object) -> str:
    argument = f"{name}={value!r}"
    return argument if part is None else f"{part}({argument})"
