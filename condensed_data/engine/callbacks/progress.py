"""`Progress` and the base class of all callbacks.

The loop calls `on_start` once, before the first iteration of this process; `on_iteration` after every iteration whose
loss it has read (all of them on a CPU; a few per second on an accelerator, which reading a loss would stall); and
`on_end` once, last. An exception raised by a callback stops the
run. Your own callbacks derive from `Callback`:

    class Deadline(Callback):
        def on_iteration(self, progress: Progress) -> None:
            if progress.seconds > 3600:
                raise KeyboardInterrupt
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The state of a run.

    Attributes:
        iteration: number of completed iterations, those before an interruption included; 1 after the first.
        iterations: number of iterations of the run, completed or not.
        loss: the loss of iteration `iteration`, summed over classes as in the method's paper; NaN before the first.
        seconds: time since this process started the run.
        iterations_per_second: speed without the first iteration, which also compiles; 0 until the second is done.
        eta_seconds: expected time until the end; infinite until the second iteration is done.
        recipe: name of the recipe.
        resumed_at: number of iterations that were already completed when this process started; 0 in a new run.
    """

    iteration: int
    iterations: int
    loss: float
    seconds: float
    iterations_per_second: float
    eta_seconds: float
    recipe: str
    resumed_at: int


class Callback:
    """Base class of all callbacks; every method does nothing."""

    def on_start(self, progress: Progress) -> None:
        """Called once, before the first iteration, which may take much longer than the others."""

    def on_iteration(self, progress: Progress) -> None:
        """Called after an iteration whose loss was read."""

    def on_end(self, progress: Progress) -> None:
        """Called once, last, with the state after the last iteration."""


class Callbacks(Callback):
    """Calls several callbacks in order.

    Args:
        callbacks: instances of `Callback`.

    Raises:
        TypeError: if one of them is not a `Callback`.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self.callbacks = tuple(callbacks)
        for index, callback in enumerate(self.callbacks):
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks[{index}]={callback!r} is not a Callback. Give an instance of a class that derives from "
                    "condensed_data.Callback and overrides on_start, on_iteration or on_end."
                )

    def on_start(self, progress: Progress) -> None:
        for callback in self.callbacks:
            callback.on_start(progress)

    def on_iteration(self, progress: Progress) -> None:
        for callback in self.callbacks:
            callback.on_iteration(progress)

    def on_end(self, progress: Progress) -> None:
        for callback in self.callbacks:
            callback.on_end(progress)
