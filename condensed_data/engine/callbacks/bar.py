"""Progress bars of a run, and of the networks that are trained on real samples before it."""

from __future__ import annotations

import math
from typing import Any

from condensed_data.engine.callbacks.progress import Callback, Progress


class ProgressBar(Callback):
    """A tqdm bar (in a terminal or a notebook) with the loss, the speed and the time left."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_start(self, progress: Progress) -> None:
        self._bar = _open_bar(progress)
        self._bar.set_postfix_str("first iteration, which also compiles")

    def on_iteration(self, progress: Progress) -> None:
        if self._bar is None:
            self.on_start(progress)
        self._bar.set_postfix_str(_describe(progress), refresh=False)
        self._bar.update(progress.iteration - self._bar.n)
        if progress.iteration <= progress.resumed_at + 2:  # tqdm would draw it after the next, which may take long
            self._bar.refresh()

    def on_end(self, progress: Progress) -> None:
        if self._bar is not None:
            self.on_iteration(progress)
            self._bar.close()
            self._bar = None


class TrainingBar:
    """A tqdm bar of the real samples that networks are trained on before a run, epochs times samples times networks."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total` samples; the bar disappears at the end."""
        from tqdm.auto import tqdm

        if self._bar is None:
            title = "training networks on real samples"
            self._bar = tqdm(total=total, desc=title, unit=" samples", unit_scale=True, leave=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None


def _open_bar(progress: Progress) -> Any:
    from tqdm.auto import tqdm

    # without tqdm's own speed, which would count the iterations before the bar was opened
    layout = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
    title = f"{progress.recipe}: condensing"
    return tqdm(total=progress.iterations, initial=progress.resumed_at, desc=title, bar_format=layout)


def _describe(progress: Progress) -> str:
    speed = progress.iterations_per_second
    if speed <= 0:
        return f"loss {progress.loss:.4g}, {progress.seconds:.1f} s for the first iteration"
    text = f"{speed:.1f} iterations/s" if speed >= 1 else f"{1 / speed:.1f} s/iteration"
    return f"loss {progress.loss:.4g}, {text}, ETA {_clock(progress.eta_seconds)}"


def _clock(seconds: float) -> str:
    """Seconds as mm:ss or h:mm:ss; "?" if they are not finite."""
    from tqdm import tqdm

    return tqdm.format_interval(round(seconds)) if math.isfinite(seconds) else "?"
