"""What a run tells while it goes: `Progress`, the base of all callbacks, and the records that logs hold.

The loop calls `on_iteration` after an iteration whose loss it has read (each one on a CPU; a few times a second where
reading a loss would make an accelerator wait), `on_evaluate` where accuracy by iteration was asked for, and
`on_end` once, last. An exception raised by a callback stops the run. Own callbacks derive from `Callback`:

    class Deadline(Callback):
        def on_iteration(self, progress: Progress) -> None:
            if progress.seconds > 3600:
                raise KeyboardInterrupt
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from condensed_data.training.evaluate import Evaluation

LogRow = dict[str, Any]
_OF_ITERATION = ("iteration", "recipe", "iterations", "loss", "seconds", "iterations_per_second")
_OF_EVALUATION = ("network", "protocol", "networks", "accuracy", "accuracy_std")
# the columns of a CSV log and the keys of a JSONL record
COLUMNS = _OF_ITERATION + _OF_EVALUATION


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        iteration: iterations completed, from 1 on; those before an interruption count.
        iterations: iterations of the whole run.
        loss: the loss of iteration `iteration`, summed over classes as the method publishes it.
        seconds: time since this process began the run.
        iterations_per_second: the current speed.
        eta_seconds: expected time to the end.
        recipe: the recipe's name.
        resumed_at: iterations that were already completed when this process began: 0 in a new run.
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
    """Base of all callbacks; every method does nothing."""

    def on_iteration(self, progress: Progress) -> None:
        """Called after iteration `progress.iteration`; on an accelerator not after each one."""

    def on_evaluate(self, iteration: int, evaluation: Evaluation) -> None:
        """Called when networks were trained on the samples as they are after `iteration` iterations."""

    def on_end(self, progress: Progress) -> None:
        """Called once, last, with the state of the last iteration."""


class Callbacks(Callback):
    """Calls several callbacks in their order.

    Args:
        callbacks: instances of `Callback`.

    Raises:
        TypeError: for anything else.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self.callbacks = tuple(callbacks)
        for index, callback in enumerate(self.callbacks):
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks[{index}]={callback!r} is no Callback. Give an instance of a class that "
                    "derives from condensed_data.engine.callbacks.Callback and overrides on_iteration, "
                    "on_evaluate or on_end."
                )

    def on_iteration(self, progress: Progress) -> None:
        for callback in self.callbacks:
            callback.on_iteration(progress)

    def on_evaluate(self, iteration: int, evaluation: Evaluation) -> None:
        for callback in self.callbacks:
            callback.on_evaluate(iteration, evaluation)

    def on_end(self, progress: Progress) -> None:
        for callback in self.callbacks:
            callback.on_end(progress)


def iteration_record(progress: Progress) -> LogRow:
    """What a log keeps of one iteration."""
    return {name: getattr(progress, name) for name in _OF_ITERATION}


def evaluation_record(iteration: int, evaluation: Evaluation) -> LogRow:
    """What a log keeps of one evaluation."""
    return {
        "iteration": iteration,
        "network": evaluation.network,
        "protocol": evaluation.training.name,
        "networks": evaluation.runs,
        "accuracy": evaluation.mean,
        "accuracy_std": evaluation.std,
    }
