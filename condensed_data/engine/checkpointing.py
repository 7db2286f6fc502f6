"""Saves a run at intervals, and resumes it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from condensed_data.core.caller_warnings import warn_caller
from condensed_data.engine.callbacks.progress import Callback, Progress
from condensed_data.engine.loop import CondensationRun
from condensed_data.storage import checkpoint

INTERVAL = "CONDENSED_DATA_CHECKPOINT_SECONDS"


class Checkpointer(Callback):
    """Saves a run once a minute, when it is stopped, and at its end.

    The version of torch and the number of threads change the last bits of sums. A run ends at the bits of an
    uninterrupted one only where both are those of its checkpoint, so each pair has a checkpoint of its own.

    Args:
        folder: of the checkpoints.
        lineage: of the run, which a checkpoint must agree with to be resumed.
        progress: whether to print that a run is resumed.
    """

    def __init__(self, folder: Path, lineage: str, progress: bool) -> None:
        version, threads = torch.__version__, torch.get_num_threads()
        self.path = folder / f"checkpoint-torch-{version}-threads-{threads}.safetensors"
        self.identity = {"lineage": lineage, "torch": version, "threads": threads}
        self.progress = progress
        self.interval = float(os.environ.get(INTERVAL, "60"))
        self.saved = time.monotonic()
        self.run: CondensationRun | None = None

    def resume(self, run: CondensationRun) -> None:
        """Continue from the checkpoint unless it has more iterations than this run.

        One that cannot be resumed is renamed, with a warning; those of another torch or number of threads stay.
        """
        self.run = run
        if not self.path.exists():
            self._mention_others()
            return
        try:
            state = checkpoint.read(self.path, self.identity)
        except checkpoint.CheckpointError as error:
            aside = self.path.with_suffix(".refused")
            os.replace(self.path, aside)
            warn_caller(f"{error} The file was renamed to {aside.name}, and the run starts from the beginning.")
            return
        if state["iteration"] <= run.iterations:
            run.load_state_dict(state)
            if self.progress:
                print(f"Resumed at iteration {run.iteration:,} of {run.iterations:,}.", flush=True)

    def _mention_others(self) -> None:
        others = ", ".join(path.name for path in self._checkpoints())
        if others:
            warn_caller(
                f"The run starts from the beginning: it needs {self.path.name}, and there is only {others}. With "
                "another torch or number of threads it would end at other bits than an uninterrupted run. To continue, "
                "use the same ones again (OMP_NUM_THREADS, torch.set_num_threads)."
            )

    def _checkpoints(self) -> list[Path]:
        return sorted(self.path.parent.glob("checkpoint-*.safetensors"))

    def delete(self) -> None:
        """Delete all checkpoints of this run."""
        for path in self._checkpoints():
            path.unlink(missing_ok=True)

    def on_iteration(self, progress: Progress) -> None:
        stopping = self.run is not None and self.run.stopping
        if stopping or time.monotonic() - self.saved >= self.interval:
            self.save()

    def on_end(self, progress: Progress) -> None:
        self.save()

    def save(self) -> None:
        """Write the run's state; if writing fails, warn and keep the previous checkpoint."""
        if self.run is not None:
            try:
                checkpoint.write(self.path, self.run.state_dict(), self.identity)
            except OSError as error:
                warn_caller(
                    f"Could not save the checkpoint at iteration {self.run.iteration} ({error}); keeping the previous "
                    "one."
                )
        self.saved = time.monotonic()
