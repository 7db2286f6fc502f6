"""Decides when to read the loss of a run, and computes its speed."""

from __future__ import annotations

import math
import time

from condensed_data.engine.callbacks.progress import Progress

INTERVAL = 0.1  # seconds between two readings on an accelerator, which each reading makes wait


class Pace:
    """Measures how fast a run of `iterations` goes, of which `first` were completed at its start.

    Args:
        every_iteration: whether to read the loss of every iteration: on a CPU, where that costs nothing, and with
            several processes, which have to read the same losses to end in the same iteration.
    """

    def __init__(self, first: int, iterations: int, recipe: str, every_iteration: bool) -> None:
        self.first, self.iterations, self.recipe = first, iterations, recipe
        self.every_iteration = every_iteration
        self.started, self.last_read = time.perf_counter(), -math.inf

    def is_due(self) -> bool:
        """Whether to read the loss of the iteration that has just ended."""
        return self.every_iteration or time.perf_counter() - self.last_read > INTERVAL

    def progress(self, iteration: int, loss: float) -> Progress:
        """The state and the speed of the run after this iteration."""
        self.last_read = time.perf_counter()
        seconds = self.last_read - self.started
        rate = (iteration - self.first) / seconds
        return Progress(
            iteration=iteration,
            iterations=self.iterations,
            loss=loss,
            seconds=seconds,
            iterations_per_second=rate,
            eta_seconds=(self.iterations - iteration) / rate,
            recipe=self.recipe,
            resumed_at=self.first,
        )
