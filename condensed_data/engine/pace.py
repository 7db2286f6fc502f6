"""Decides when to read the loss of a run, and computes its speed.

The first iteration also compiles networks and fills caches, so speed and time left are computed from those after it.
"""

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
        self._warm: tuple[int, float] | None = None  # the first iteration whose loss was read, and the time then

    def is_due(self) -> bool:
        """Whether to read the loss of the iteration that has just ended."""
        return self.every_iteration or time.perf_counter() - self.last_read > INTERVAL

    def progress(self, iteration: int, loss: float) -> Progress:
        """The state and the speed of the run after this iteration."""
        self.last_read = time.perf_counter()
        warm_iteration, warm_time = self._warm = self._warm or (iteration, self.last_read)
        rate = (iteration - warm_iteration) / max(self.last_read - warm_time, 1e-9)
        return self._progress(iteration, loss, rate)

    def start(self) -> Progress:
        """The state before the first iteration."""
        return self._progress(self.first, math.nan, 0.0)

    def _progress(self, iteration: int, loss: float, rate: float) -> Progress:
        left = self.iterations - iteration
        return Progress(
            iteration=iteration,
            iterations=self.iterations,
            loss=loss,
            seconds=time.perf_counter() - self.started,
            iterations_per_second=rate,
            eta_seconds=0.0 if left <= 0 else left / rate if rate else math.inf,
            recipe=self.recipe,
            resumed_at=self.first,
        )
