"""Argument checks; every error names the argument, its value and what is accepted.

In all of them `part` is the class or function that takes the argument, or None if the call makes it clear, and
`or_default` accepts a `DataDefault`, whose value is checked once it is resolved.
"""

from __future__ import annotations

from collections.abc import Collection

from condensed_data.core.errors import short_repr
from condensed_data.core.names import did_you_mean
from condensed_data.core.spec import DataDefault


def require(valid: bool, part: str | None, name: str, value: object, rule: str, remedy: str = "") -> None:
    """Raise ValueError unless `valid`: "part(name=value) must be `rule`.`remedy`"."""
    if not valid:
        argument = f"{name}={short_repr(value)}"
        raise ValueError(f"{argument if part is None else f'{part}({argument})'} must be {rule}.{remedy}")


def is_count(value: object, least: int = 1) -> bool:
    """Whether `value` is an integer (not a bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_count(
    part: str | None, name: str, value: object, least: int = 1, *, or_default: bool = False, optional: bool = False
) -> None:
    """Raise ValueError unless `value` is an integer of at least `least`, or None if `optional`."""
    valid = is_count(value, least) or (or_default and isinstance(value, DataDefault)) or (optional and value is None)
    require(valid, part, name, value, f"an integer of at least {least}")


def check_choice(
    part: str | None, name: str, value: object, choices: Collection[object], *, or_default: bool = False
) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    valid = (or_default and isinstance(value, DataDefault)) or value in choices
    similar = did_you_mean(value, [choice for choice in choices if isinstance(choice, str)])
    require(valid, part, name, value, f"one of {', '.join(map(repr, choices))}", similar)
