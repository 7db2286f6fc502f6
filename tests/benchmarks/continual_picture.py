"""The figure of `continual.py`: accuracy after each experience, and differences of the others from our line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from continual_report import Panel, panels
from rows import Row

Styles = dict[str, dict[str, Any]]  # color and marker of every competitor
ROW_HEIGHT = 0.3  # inches of a competitor
LABEL_WIDTH = 5.6  # inches of the longest names of competitors and settings


def draw(rows: Sequence[Row], ours: str | None, path: Path) -> None:
    """Draw one row per panel: curves on the left, paired differences with their 95 % intervals on the right.

    Args:
        rows, ours: see `report`.
        path: of the figure, in any format of matplotlib.

    Raises:
        SystemExit: without rows to draw.
    """
    from matplotlib.figure import Figure

    found = panels(rows, ours)
    if not found:
        raise SystemExit(f"There are no rows to draw into {path}.")
    heights = [max(3.2, 1.0 + ROW_HEIGHT * len(panel.lines)) for panel in found]
    figure = Figure(figsize=(10 + LABEL_WIDTH, sum(heights)), dpi=110, layout="constrained")
    cells = figure.subplots(len(found), 2, squeeze=False, height_ratios=heights)
    names = list(dict.fromkeys(line.name for panel in found for line in panel.lines))
    styles = {name: {"color": f"C{index % 10}", "marker": _marker(index)} for index, name in enumerate(names)}
    for panel, (curves, differences) in zip(found, cells, strict=True):
        _curves(curves, panel, styles)
        _differences(differences, panel, styles)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _curves(axes: Any, panel: Panel, styles: Styles) -> None:
    numbers = range(1, panel.experiences + 1)
    for line in panel.lines:
        after = [line.after(number - 1, panel.experiences) for number in numbers]
        style = "-" if line is panel.ours else (0, (4, 1.5)) if line.condensed else (0, (1, 1))
        options = {"linestyle": style, "linewidth": 2.6 if line is panel.ours else 1.5, **styles[line.name]}
        if after[0]:
            axes.plot(numbers, [mean(values.values()) for values in after], **options)
        else:
            axes.plot([panel.experiences], [mean(line.last.values())], **options)
    axes.set_title(panel.title)
    axes.set_xticks(numbers)
    axes.set_xlabel("experiences")
    axes.set_ylabel("accuracy on all classes seen (%)")
    axes.grid(alpha=0.3)


def _differences(axes: Any, panel: Panel, styles: Styles) -> None:
    """Our accuracy minus that of each line, the best on top; the colors of names are the legend of both panels."""
    for index, line in enumerate(panel.lines):
        found = panel.difference(line)
        if found is not None:
            middle, half, count = found
            error = half if count > 1 else 0
            axes.errorbar([middle], [index], xerr=[[error], [error]], capsize=3, **styles[line.name])
        elif line is panel.ours:
            axes.plot([0], [index], markersize=9, **styles[line.name])
    axes.set_yticks(range(len(panel.lines)), [_name(panel, index) for index in range(len(panel.lines))])
    for label, line in zip(axes.get_yticklabels(), panel.lines, strict=True):
        label.set_color(styles[line.name]["color"])
    axes.set_ylim(len(panel.lines) - 0.5, -0.5)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("ours minus it, after the last experience (points, 95 % interval)")
    axes.grid(axis="x", alpha=0.3)


def _name(panel: Panel, index: int) -> str:
    line = panel.lines[index]
    return f"{line.label}{', ours' * (line is panel.ours)}  {mean(line.last.values()):.1f} %"


def _marker(index: int) -> str:
    """Markers that tell competitors of the same color apart."""
    return "os^Dv"[index // 10 % 5]
