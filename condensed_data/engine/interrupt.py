"""Delays Ctrl-C until the current iteration is complete."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class DelayedInterrupt:
    """Delays Ctrl-C until the iteration is complete: a state within one cannot be resumed to the same bits.

    A context manager for the main thread; elsewhere Python delivers no signals and it does nothing. `requested` is
    whether Ctrl-C was pressed.

    Args:
        once: whether a second Ctrl-C is raised at once. Not with several processes: torchrun sends one of its own.
    """

    def __init__(self, once: bool = True) -> None:
        self.once, self.requested = once, False
        self._handler: Any = None

    def __enter__(self) -> DelayedInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and self.once:
            raise KeyboardInterrupt
        self.requested = True
