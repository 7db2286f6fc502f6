"""What every process of a build does beside the steps: begin at one state, and stop at one iteration."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from condensed_data.engine.callbacks.progress import Callback, Progress
from condensed_data.engine.run import CondensationRun


@dataclass(frozen=True)
class BuildStarted:
    """What rank 0 tells the others when it begins to condense.

    Attributes:
        fingerprint: of the source's content, under which networks trained on it are kept.
    """

    fingerprint: str | None


class RankSynchronizer(Callback):
    """Brings a run to the state of rank 0's, and stops it in the iteration in which rank 0 was asked to stop.

    As a context manager it holds Ctrl-C back on the other ranks, as a terminal sends it to all processes. One process
    alone has nobody to follow.
    """

    def __init__(self, run: CondensationRun) -> None:
        self.run, self.ranks = run, run.context.ranks
        self._handler: Any = None

    def resume(self) -> None:
        """The state from which rank 0 goes on, where it found a checkpoint."""
        if not self.ranks.is_distributed:
            return
        state = self.ranks.broadcast(
            self.run.state_dict() if self.ranks.is_main and self.run.iteration else None
        )
        if state is not None and not self.ranks.is_main:
            self.run.load_state_dict(state)

    def on_iteration(self, progress: Progress) -> None:
        if self.run.stopping:
            raise KeyboardInterrupt(
                f"Stopped after iteration {progress.iteration:,} of {progress.iterations:,}."
            )

    def __enter__(self) -> RankSynchronizer:
        if not self.ranks.is_main and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._wait)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def _wait(self, number: int, frame: FrameType | None) -> None:
        """Rank 0 says when."""
