"""What a build tells at its end: sizes before and after, times, and accuracies side by side."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from condensed_data.dataset import CondensedDataset
from condensed_data.engine.callbacks import Callback, Progress
from condensed_data.evaluation.baselines import Comparison, Row


class Resumed(Callback):
    """Remembers how many iterations an earlier process had done; the seconds of a run are those of this one."""

    def __init__(self) -> None:
        self.iterations = 0

    def on_iteration(self, progress: Progress) -> None:
        self.iterations = progress.resumed_at


def format_build(
    condensed: CondensedDataset,
    directory: Path | None,
    grid: Path | None,
    cached: bool = False,
    resumed_at: int = 0,
) -> str:
    """Text: what was condensed, its size before and after, the time it took, and where the result is."""
    metadata = condensed.metadata
    before, after = metadata.source_samples, len(condensed)
    assert before is not None  # a build counts them
    numbers = math.prod(metadata.kind.shape)
    lines = {
        "samples": f"{before:,} -> {after:,} ({_times(before / after)} times fewer)",
        "8 bit": f"{_bytes(before * numbers)} -> {_bytes(after * numbers)}",
        "float32": f"{_bytes(4 * before * numbers)} -> {_bytes(4 * condensed.stored_floats)} (as stored)",
        "condensing": _condensing(metadata.seconds, metadata.iterations, resumed_at, condensed.hub_revision),
        "saved in": str(
            directory or f"{'the cache' if cached else 'nowhere'}; --out DIR writes it to a folder"
        ),
    }
    if grid is not None:
        lines["image grid"] = str(grid)
    shape = "x".join(map(str, metadata.kind.shape))
    head = (
        f"{metadata.name} condensed by {metadata.recipe_name}: {metadata.ipc} samples ({shape}) for each of "
        f"{len(metadata.classes)} classes, seed {metadata.seed}"
    )
    return "\n".join([head, *aligned(lines.items())])


def format_comparison(comparison: Comparison) -> str:
    """Text: accuracies side by side under the name of their protocol, and the training time saved."""
    c = comparison
    every = f"every network but the first row's ({c.own})" if c.own else "every network"
    head = f"Accuracy on {c.test_samples:,} test samples: {c.network}, {c.training.label} for {every}"
    kinds = ((c.condensed, "network"), (c.random, "subset"), (c.whole, "network"))
    rows = [(row.name, _accuracy(row, kind)) for row, kind in kinds]
    saved, step = 1 - c.condensed.seconds / c.full_seconds, 1000 * c.full_seconds / c.full_steps
    condensed = f"{duration(c.condensed.seconds)} {'by the steps of' if c.own else 'on'} the condensed set"
    times = (
        f"Training one network for {c.epochs:,} epochs: {condensed}, about {duration(c.full_seconds)} on the whole "
        "set,\n"
        f"estimated as {c.full_steps:,} steps of {step:.3g} ms: {_saving(saved)}"
    )
    return "\n".join([head, *aligned(rows), times])


def _saving(saved: float) -> str:
    return f"{100 * saved:.1f} % of the time saved" if saved > 0 else "no time saved"


def _accuracy(row: Row, kind: str) -> str:
    count = len(row.accuracies)
    text = f"{_percent(row.accuracies)} ({count} {kind}{'s' if count > 1 else ''})"
    return text + (f"; rounded to 8 bits {_percent(row.eight_bit)}" if row.eight_bit else "")


def _percent(accuracies: Sequence[float]) -> str:
    mean = f"{100 * statistics.fmean(accuracies):.1f} %"
    return mean if len(accuracies) == 1 else f"{mean} ± {100 * statistics.pstdev(accuracies):.1f}"


def aligned(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Lines with their names in a column."""
    listed = list(lines)
    width = max(len(name) for name, _ in listed)
    return [f"  {name:<{width}}  {text}" for name, text in listed]


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _bytes(count: int) -> str:
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.4g} {unit}"


def _condensing(seconds: float | None, iterations: int, resumed_at: int, commit: str | None) -> str:
    had = "the cache had it" if commit is None else f"the Hub had it, commit {commit[:12]}"
    time = f"no time: {had}" if seconds is None else duration(seconds)
    if resumed_at:
        return f"{time} for the last {iterations - resumed_at:,} of {iterations:,} iterations"
    return f"{time}, {iterations:,} iterations"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
