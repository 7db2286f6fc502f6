"""The one loop: iteration after iteration, with somebody listening, and an end when it goes wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from condensed_data.core.spec import require_resolved
from condensed_data.engine.callbacks.progress import Callback, Callbacks, Progress
from condensed_data.engine.run import CondensationRun
from condensed_data.methods.base import SyntheticData


class DivergedError(ArithmeticError):
    """The loss became NaN, infinite or huge.

    Attributes:
        iteration: the last iteration whose result was good.
        outcome: the last good result, where the run was a build's; condensed: the same as a `CondensedDataset`.
    """

    result: Any = None
    condensed: Any = None

    def __init__(self, message: str, iteration: int) -> None:
        super().__init__(message)
        self.iteration = iteration


def condense(run: CondensationRun, callbacks: Sequence[Callback] = ()) -> SyntheticData:
    """Run to the last iteration of the recipe.

    Raises:
        DivergedError: when the loss is NaN, infinite or 1,000 times the largest of the first ten; the run then
            holds the last good synthetic data.
    """
    watch = DivergenceGuard(run)
    listeners = Callbacks(tuple(callbacks))
    progress = None
    for progress in _iterations(run, watch):
        listeners.on_iteration(progress)
    if progress is not None:
        listeners.on_end(progress)
    return run.synthetic_data


def _iterations(run: CondensationRun, watch: DivergenceGuard) -> Iterator[Progress]:
    """Run the iterations, and report those whose loss is read: all on a CPU, a few a second on an accelerator."""
    started, first = time.perf_counter(), run.iteration
    read = -math.inf
    while not run.finished:
        loss = run.step()
        now = time.perf_counter()
        last = run.finished
        # Reading the loss waits for an accelerator; ten times a second keeps it busy.
        # Several processes read the same losses, to end in the same iteration.
        always = loss.device.type == "cpu" or run.context.ranks.is_distributed
        if always or last or now - read > 0.1:
            read = now
            value = float(loss)
            watch.check(value)
            seconds = time.perf_counter() - started
            rate = (run.iteration - first) / seconds
            yield Progress(
                iteration=run.iteration,
                iterations=run.iterations,
                loss=value,
                seconds=seconds,
                iterations_per_second=rate,
                eta_seconds=(run.iterations - run.iteration) / rate,
                recipe=run.recipe.name,
                resumed_at=first,
            )


class DivergenceGuard:
    """Keeps the last good synthetic data and stops a run that diverges."""

    def __init__(self, run: CondensationRun) -> None:
        self.run, self.seen, self.largest = run, 0, 0.0
        self.good, self.good_iteration, self.kept = (
            run.synthetic_data.state_dict(),
            run.iteration,
            time.perf_counter(),
        )

    def check(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._stop(f"became {loss}")
        if self.seen >= 10 and abs(loss) > 1000 * self.largest:
            self._stop(f"grew to {loss:.3g}, more than 1,000 times where it began")
        self.seen += 1
        if self.seen <= 10:
            self.largest = max(self.largest, abs(loss))
        if time.perf_counter() - self.kept > 1 or self.seen <= 10:
            self._keep()

    def _keep(self) -> None:
        state = self.run.synthetic_data.state_dict()
        if all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            self.good, self.good_iteration, self.kept = state, self.run.iteration, time.perf_counter()

    def _stop(self, what: str) -> None:
        self.run.synthetic_data.load_state_dict(self.good)
        lr, iteration = require_resolved(self.run.recipe.optimizer.lr), self.run.iteration
        low = (
            " Or compute in full precision with precision='fp32'."
            if self.run.context.precision != "fp32"
            else ""
        )
        raise DivergedError(
            f"The loss {what} at iteration {iteration}. The likely cause is a learning rate that is too high for these "
            f"samples: optimizer.lr={lr:g}; try {lr / 10:g}.{low} The last good state, of iteration {self.good_iteration}, "
            "is kept.",
            self.good_iteration,
        )
