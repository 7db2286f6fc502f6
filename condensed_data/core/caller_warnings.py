"""Warnings that name the line of the user's program that led to them, however deep inside this package they arise."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

from condensed_data.core.text import visible


def warn_caller(message: str) -> None:
    """Issue a UserWarning for the innermost line outside this package, its integrations and what wraps their calls.

    Text of others in the message is made visible, see `core.text`.
    """
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and _is_own(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(visible(message), stacklevel=level)


def _is_own(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__"))
    return module.startswith("condensed_data") or module == "contextlib"
