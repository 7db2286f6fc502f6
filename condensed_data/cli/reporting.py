"""What `build` and `merge` save and print: sizes before and after, times, and accuracies side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from condensed_data.cli.options import plural
from condensed_data.core.sizes import format_bytes, format_duration, mean_percent, percent
from condensed_data.engine.callbacks.progress import Callback, Progress

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset
    from condensed_data.evaluation.baselines import Comparison, ComparisonRow

GRID = "grid.png"


class ResumePoint(Callback):
    """Remembers how many iterations an earlier process had completed, which the measured time does not include."""

    def __init__(self) -> None:
        self.iterations = 0

    def on_iteration(self, progress: Progress) -> None:
        self.iterations = progress.resumed_at


def save_with_grid(condensed: CondensedDataset, directory: Path) -> None:
    """Write the artifact and an image grid to a folder."""
    condensed.save(directory)
    condensed.plot(directory / GRID)


def format_build(condensed: CondensedDataset, directory: Path | None, cached: bool = False, resumed_at: int = 0) -> str:
    """Describe a build: its size before and after, the time it took, and where the result is.

    Args:
        condensed: the result.
        directory: folder it was saved to by `save_with_grid`, if any.
        cached: whether the result is also in the cache.
        resumed_at: see `ResumePoint`.
    """
    metadata = condensed.metadata
    before, after = metadata.source_samples, len(condensed)
    assert before is not None  # counted by every build
    values = math.prod(metadata.kind.shape)
    elsewhere = "in the cache" if cached else "not saved"
    lines = {
        "samples": f"{before:,} -> {after:,} ({_ratio(before / after)} times fewer)",
        "8 bit": f"{format_bytes(before * values)} -> {format_bytes(after * values)}",
        "float32": f"{format_bytes(4 * before * values)} -> {format_bytes(4 * condensed.stored_floats)}",
        "stored": f"{format_bytes(condensed.stored_bytes)}, labels included",
        "condensing": _time(metadata.seconds, metadata.iterations, resumed_at, condensed.hub_revision),
        "result": str(directory or f"{elsewhere}; use --out DIR to write it to a folder"),
    }
    if directory is not None:
        lines["image grid"] = str(directory / GRID)
    shape = "x".join(map(str, metadata.kind.shape))
    head = (
        f"{metadata.name} condensed by {metadata.recipe_name}: {plural(metadata.ipc, 'sample')} of shape {shape} for "
        f"each of {len(metadata.classes)} classes, seed {metadata.seed}"
    )
    return "\n".join([head, *aligned(lines.items())])


def format_comparison(comparison: Comparison) -> str:
    """List accuracies side by side under the name of their protocol, and the training time saved."""
    c = comparison
    networks = f"all networks except those of {c.condensed.name} ({c.own})" if c.own else "all networks"
    head = f"Accuracy on {c.test_samples:,} test samples: {c.network}, {c.training.label} for {networks}"
    rows = [
        (c.condensed.name, _accuracy(c.condensed, "network")),
        (c.random.name, _accuracy(c.random, "subset")),
        (c.whole.name, _accuracy(c.whole, "network")),
    ]
    return "\n".join([head, *aligned(rows), _training_time(c)])


def _training_time(c: Comparison) -> str:
    how = "by the schedule of" if c.own else "on"
    saved, step = 1 - c.condensed.seconds / c.full_seconds, 1000 * c.full_seconds / c.full_steps
    saving = f"saves {percent(saved)} of the time" if saved > 0 else "saves no time"
    condensed, full = format_duration(c.condensed.seconds), format_duration(c.full_seconds)
    return (
        f"Training one network for {c.epochs:,} epochs: {condensed} {how} the condensed dataset, about {full} on the "
        "full dataset\n"
        f"(estimated as {c.full_steps:,} steps of {step:.3g} ms): {saving}"
    )


def _accuracy(row: ComparisonRow, kind: str) -> str:
    text = f"{mean_percent(row.accuracies)} ({plural(len(row.accuracies), kind)})"
    return text + (f"; rounded to 8 bits {mean_percent(row.eight_bit)}" if row.eight_bit else "")


def aligned(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Indented lines with their names in one column."""
    listed = list(lines)
    width = max(len(name) for name, _ in listed)
    return [f"  {name:<{width}}  {text}" for name, text in listed]


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _time(seconds: float | None, iterations: int, resumed_at: int, commit: str | None) -> str:
    """The time that condensing took; `seconds` is None if the result was found in the cache or on the Hub."""
    found = "found in the cache" if commit is None else f"found on the Hub, commit {commit[:12]}"
    time = found if seconds is None else format_duration(seconds)
    if resumed_at:
        return f"{time} for the last {iterations - resumed_at:,} of {iterations:,} iterations"
    return f"{time}, {iterations:,} iterations"
