"""What commands print: text of others in it cannot control the terminal."""

from __future__ import annotations

import io
from typing import TextIO

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
