"""Callbacks that show a run as a bar, and collect it in memory."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from condensed_data.engine.callbacks.progress import (
    Callback,
    LogRow,
    Progress,
    evaluation_record,
    iteration_record,
)

if TYPE_CHECKING:
    from condensed_data.training.evaluate import Evaluation


class ProgressBar(Callback):
    """A tqdm bar (in a terminal or a notebook) with the loss, the speed and the time left."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_iteration(self, progress: Progress) -> None:
        first = self._bar is None
        if first:
            self._bar = _open_bar(progress)
        self._bar.set_postfix_str(_describe(progress), refresh=False)
        self._bar.update(progress.iteration - self._bar.n)
        if first:  # tqdm would wait for the next iteration, which may take long
            self._bar.refresh()

    def on_evaluate(self, iteration: int, evaluation: Evaluation) -> None:
        from tqdm.auto import tqdm

        tqdm.write(f"iteration {iteration}: {evaluation}", file=sys.stderr)

    def on_end(self, progress: Progress) -> None:
        if self._bar is not None:
            self.on_iteration(progress)
            self._bar.close()
            self._bar = None


class TrainingBar:
    """A tqdm bar of the epochs that networks are trained on real samples beforehand."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total` epochs; at the end the bar goes."""
        from tqdm.auto import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, desc="training networks on real samples", unit="epoch", leave=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None


def _open_bar(progress: Progress) -> Any:
    from tqdm.auto import tqdm

    # tqdm's own speed would start with the iterations that were done before the bar was there
    layout = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
    title = f"{progress.recipe}: condensing"
    return tqdm(total=progress.iterations, initial=progress.resumed_at, desc=title, bar_format=layout)


def _describe(progress: Progress) -> str:
    speed = progress.iterations_per_second
    text = f"{speed:.1f} iterations/s" if speed >= 1 or speed <= 0 else f"{1 / speed:.1f} s/iteration"
    return f"loss {progress.loss:.4g}, {text}, ETA {_clock(progress.eta_seconds)}"


def _clock(seconds: float) -> str:
    """`seconds` as m:ss or h:mm:ss, or "?" where it is not known."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class History(Callback):
    """Collects everything in memory, for `plots.curves(history.records, path)`.

    Attributes:
        records: one dictionary an event in the keys of `JSONLLogger`, in the order of the calls.
        evaluations: (iteration, evaluation) of every `on_evaluate`.
    """

    def __init__(self) -> None:
        self.records: list[LogRow] = []
        self.evaluations: list[tuple[int, Evaluation]] = []

    @property
    def iterations(self) -> list[int]:
        """The iterations whose loss was read."""
        return [record["iteration"] for record in self.records if "loss" in record]

    @property
    def losses(self) -> list[float]:
        """The losses of `iterations`."""
        return [record["loss"] for record in self.records if "loss" in record]

    def on_iteration(self, progress: Progress) -> None:
        self.records.append(iteration_record(progress))

    def on_evaluate(self, iteration: int, evaluation: Evaluation) -> None:
        self.records.append(evaluation_record(iteration, evaluation))
        self.evaluations.append((iteration, evaluation))

    def on_end(self, progress: Progress) -> None:
        if progress.iteration > max(self.iterations, default=0):
            self.on_iteration(progress)
