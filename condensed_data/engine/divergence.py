"""Stops a run whose loss diverges, at the last good synthetic data."""

from __future__ import annotations

import math
import time
from typing import Any, NoReturn

import torch

from condensed_data.methods.base import SyntheticData

FIRST = 10  # losses that a later one is compared with
FACTOR = 1000
KEEP_SECONDS = 1.0


class DivergedError(ArithmeticError):
    """The loss became NaN, infinite or huge.

    Attributes:
        iteration: the last iteration whose result was good.
        result: the last good `CondensationResult`, if a whole build diverged.
        condensed: the same as a `CondensedDataset`.
    """

    result: Any = None
    condensed: Any = None

    def __init__(self, message: str, iteration: int) -> None:
        super().__init__(message)
        self.iteration = iteration


class DivergenceGuard:
    """Keeps the last good synthetic data, and puts it back when the loss diverges.

    Args:
        synthetic_data: of the run, after `iteration` iterations.
        lr, precision: for the advice in the message.
    """

    def __init__(self, synthetic_data: SyntheticData, iteration: int, lr: float, precision: str) -> None:
        self.synthetic_data, self.lr, self.precision = synthetic_data, lr, precision
        self.seen, self.largest = 0, 0.0
        self.good, self.good_iteration = synthetic_data.state_dict(), iteration
        self.kept = time.perf_counter()

    def check(self, loss: float, iteration: int) -> None:
        """Check the loss of an iteration and keep a good state.

        Raises:
            DivergedError: if it is not finite, or more than 1,000 times the largest of the first ten.
        """
        if not math.isfinite(loss):
            self._restore_and_raise(f"became {loss}", iteration)
        if self.seen >= FIRST and abs(loss) > FACTOR * self.largest:
            self._restore_and_raise(
                f"grew to {loss:.3g}, more than 1,000 times its largest value in the first ten iterations", iteration
            )
        self.seen += 1
        if self.seen <= FIRST:
            self.largest = max(self.largest, abs(loss))
        if time.perf_counter() - self.kept > KEEP_SECONDS or self.seen <= FIRST:
            self._keep(iteration)

    def _keep(self, iteration: int) -> None:
        state = self.synthetic_data.state_dict()
        if all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            self.good, self.good_iteration, self.kept = state, iteration, time.perf_counter()

    def _restore_and_raise(self, what: str, iteration: int) -> NoReturn:
        self.synthetic_data.load_state_dict(self.good)
        fp32 = " Or compute in full precision with precision='fp32'." if self.precision != "fp32" else ""
        raise DivergedError(
            f"The loss {what} at iteration {iteration}. The learning rate is probably too high for these samples: "
            f"optimizer.lr={self.lr:g}; try {self.lr / 10:g}.{fp32} The state of iteration "
            f"{self.good_iteration}, the last good one, was restored.",
            self.good_iteration,
        )
