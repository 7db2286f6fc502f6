"""Keeps the checkpoint of a run while it goes, and resumes from it."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from condensed_data.engine.callbacks.progress import Callback, Progress
from condensed_data.engine.run import CondensationRun
from condensed_data.storage import checkpoint

INTERVAL = "CONDENSED_DATA_CHECKPOINT_SECONDS"


class Checkpointer(Callback):
    """Saves a run once a minute, at its end, and when Ctrl-C asks it to stop.

    As a context manager it holds back Ctrl-C until the iteration under way is complete, because a state in the middle of
    an iteration cannot be resumed to the same bits. A second Ctrl-C stops at once, unless others compute with this process:
    torchrun sends one of its own.

    Args:
        path: of the checkpoint file.
        identity: what a checkpoint must agree with to be resumed.
        progress: whether to say that a run is resumed.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], progress: bool) -> None:
        self.path, self.identity, self.progress = path, identity, progress
        self.every = float(os.environ.get(INTERVAL, "60"))
        self.saved = time.monotonic()
        self.run: CondensationRun | None = None
        self.asked_to_stop = False
        self._handler: Any = None

    def resume(self, run: CondensationRun) -> None:
        """Go on from the checkpoint, where there is one of no more iterations; one that does not fit is put aside."""
        self.run = run
        if not self.path.exists():
            return
        try:
            state = checkpoint.read(self.path, self.identity)
        except checkpoint.CheckpointError as error:
            aside = self.path.with_suffix(".refused")
            os.replace(self.path, aside)
            warnings.warn(f"{error} It is now {aside.name}, and the run starts over.", stacklevel=2)
            return
        if state["iteration"] <= run.iterations:
            run.load_state_dict(state)
            if self.progress:
                print(f"Resumed at iteration {run.iteration:,} of {run.iterations:,}.", flush=True)

    def forget(self) -> None:
        """Remove the checkpoint."""
        self.path.unlink(missing_ok=True)

    def on_iteration(self, progress: Progress) -> None:
        if self._stops():
            self.save()
            raise KeyboardInterrupt(
                f"Stopped after iteration {progress.iteration:,} of {progress.iterations:,}. "
                "Run the same again to go on from there."
            )
        if time.monotonic() - self.saved >= self.every:
            self.save()

    def _stops(self) -> bool:
        """Whether this was the last iteration; of several processes all have to know."""
        if self.run is not None and self.run.context.ranks.is_distributed:
            return self.run.stopping
        return self.asked_to_stop

    def on_end(self, progress: Progress) -> None:
        self.save()

    def save(self) -> None:
        """Write the run's state; where the disk does not take it, say so and keep the last one."""
        if self.run is not None:
            try:
                checkpoint.write(self.path, self.run.state_dict(), self.identity)
            except OSError as error:
                warnings.warn(
                    f"No checkpoint of iteration {self.run.iteration}: {error}. The last one is kept.",
                    stacklevel=2,
                )
        self.saved = time.monotonic()

    def __enter__(self) -> Checkpointer:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        alone = self.run is None or not self.run.context.ranks.is_distributed
        if self.asked_to_stop and alone:
            raise KeyboardInterrupt
        self.asked_to_stop = True
        if self.run is not None:
            self.run.asked_to_stop = True
