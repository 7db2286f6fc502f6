"""What commands print: text of others in it cannot control the terminal."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from condensed_data.core.text import visible


class VisibleStream(io.TextIOBase):
    """Passes text on to `stream` with its control characters made visible, except line breaks and tabs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str, /) -> int:
        self.stream.write(visible(text, "\n\t"))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()


@contextmanager
def visible_output() -> Iterator[None]:
    """While inside, what is printed and warned passes through `visible`."""
    original = warnings.formatwarning

    def formatted(message: Warning | str, *arguments: Any, **options: Any) -> str:
        return original(visible(str(message), "\n\t"), *arguments, **options)

    warnings.formatwarning = formatted
    try:
        with redirect_stdout(VisibleStream(sys.stdout)):
            yield
    finally:
        warnings.formatwarning = original
