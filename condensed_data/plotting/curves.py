"""Plots the loss and accuracy of a run by iteration. Needs matplotlib, an optional dependency."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from condensed_data.core.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = Mapping[str, Any] | tuple[int, float]


def curves(history: Iterable[Point], path: str | os.PathLike[str], *, title: str = "") -> Path:
    """Plot loss by iteration, and accuracy by iteration if the history has any.

    From 20 points on, a running mean (of 5 points, or a fortieth of all) is drawn over the faint loss. The loss axis is
    logarithmic if all losses are positive and span more than a factor of 10. Losses that are not finite are skipped.

    Args:
        history: (iteration, loss) pairs, or dictionaries with the keys of `JSONLLogger`, like `History.rows` and the
            lines of a JSONL log; a dictionary of a measured accuracy has `iteration`, `accuracy` (a fraction) and, if
            known, `accuracy_std`, `network` and `protocol`.
        path: the image file; its suffix (.png, .svg, .pdf, ...) selects the format. Missing folders are created.
        title: above the plot.

    Returns:
        The path.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if `history` has neither a finite loss nor an accuracy, or for an unknown suffix.
        OSError: if `path` cannot be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError("Plotting curves needs matplotlib: pip install condensed-data[plot]") from error
    path = Path(path)
    losses, accuracies = _series(history)
    panels = bool(len(losses)) + bool(accuracies)
    if not panels:
        raise ValueError("history has neither a finite loss nor an accuracy: there is nothing to plot.")
    figure = Figure(figsize=(7, 3.6 * panels), dpi=120, layout="constrained")
    formats = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        suffixes = ", ".join(f".{name}" for name in formats)
        raise ValueError(f"path={str(path)!r} has no supported suffix. Supported: {suffixes}.")
    axes = list(figure.subplots(panels, sharex=True, squeeze=False)[:, 0])
    if title:
        figure.suptitle(title)
    if len(losses):
        _draw_loss(axes[0], losses)
    if accuracies:
        _draw_accuracy(axes[-1], accuracies)
    axes[-1].set_xlabel("iteration")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    stream = io.BytesIO()
    figure.savefig(stream, format=path.suffix[1:].lower())
    return write_atomically(path, stream.getvalue())


def _series(history: Iterable[Point]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(points, 2) iterations and losses, and by network (points, 3) iterations, accuracies and standard deviations."""
    losses: list[tuple[float, float]] = []
    accuracies: dict[str, list[tuple[float, float, float]]] = {}
    for point in history:
        event = point if isinstance(point, Mapping) else {"iteration": point[0], "loss": point[1]}
        loss, accuracy, iteration = event.get("loss"), event.get("accuracy"), event["iteration"]
        if loss is not None and np.isfinite(loss):
            losses.append((iteration, loss))
        if accuracy is not None:
            label = f"{event.get('network', 'network')}, {event.get('protocol', 'unnamed')} protocol"
            accuracies.setdefault(label, []).append((iteration, accuracy, event.get("accuracy_std") or 0.0))
    by_network = {label: np.array(sorted(points)) for label, points in accuracies.items()}
    return np.array(sorted(losses)).reshape(-1, 2), by_network


def _draw_loss(axes: Axes, losses: np.ndarray) -> None:
    iterations, values = losses.T
    around = max(2, len(values) // 80) if len(values) >= 20 else 0
    style: dict[str, Any] = {"color": "tab:blue", "marker": "" if around else "o", "linewidth": 1}
    axes.plot(iterations, values, alpha=0.3 if around else 1, label="loss", **style)
    if around:
        label = f"mean of {2 * around + 1} points"
        axes.plot(iterations, _running_mean(values, around), color="tab:blue", label=label)
        axes.legend(frameon=False)
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
    _style_axes(axes, "loss")


def _running_mean(values: np.ndarray, around: int) -> np.ndarray:
    """Mean of each point and `around` points on either side; fewer at both ends."""
    window = np.ones(2 * around + 1)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _draw_accuracy(axes: Axes, accuracies: Mapping[str, np.ndarray]) -> None:
    for label, points in accuracies.items():
        iterations, means, deviations = points.T
        axes.errorbar(iterations, 100 * means, 100 * deviations, marker="o", ms=4, capsize=2, label=label)
    axes.legend(frameon=False)
    _style_axes(axes, "test accuracy in %")


def _style_axes(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
