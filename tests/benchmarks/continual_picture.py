"""The picture of `continual.py`: accuracy after each experience, and how far our row is from the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from continual_report import Panel, panels
from rows import Row

Looks = dict[str, dict[str, Any]]  # color and marker of every competitor
ROW_HEIGHT = 0.3  # inches of a competitor
WRITTEN = 5.6  # inches that the longest names of competitors and settings take


def draw(rows: Sequence[Row], ours: str | None, path: Path) -> None:
    """A row for each panel: curves on the left, paired differences with their 95 % intervals on the right.

    Args:
        rows, ours: see `report`.
        path: of the picture, of any kind that matplotlib writes.

    Raises:
        SystemExit: where there is nothing to draw.
    """
    from matplotlib.figure import Figure

    found = panels(rows, ours)
    if not found:
        raise SystemExit(f"{path}: there are no rows to draw.")
    heights = [max(3.2, 1.0 + ROW_HEIGHT * len(panel.lines)) for panel in found]
    figure = Figure(figsize=(10 + WRITTEN, sum(heights)), dpi=110, layout="constrained")
    cells = figure.subplots(len(found), 2, squeeze=False, height_ratios=heights)
    names = list(dict.fromkeys(line.name for panel in found for line in panel.lines))
    looks = {name: {"color": f"C{index % 10}", "marker": _marker(index)} for index, name in enumerate(names)}
    for panel, (curves, differences) in zip(found, cells, strict=True):
        _curves(curves, panel, looks)
        _differences(differences, panel, looks)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _curves(axes: Any, panel: Panel, looks: Looks) -> None:
    numbers = range(1, panel.experiences + 1)
    for line in panel.lines:
        after = [line.after(number - 1, panel.experiences) for number in numbers]
        style = "-" if line is panel.ours else (0, (4, 1.5)) if line.condensed else (0, (1, 1))
        how = {"linestyle": style, "linewidth": 2.6 if line is panel.ours else 1.5, **looks[line.name]}
        if after[0]:
            axes.plot(numbers, [mean(values.values()) for values in after], **how)
        else:
            axes.plot([panel.experiences], [mean(line.last.values())], **how)
    axes.set_title(panel.title)
    axes.set_xticks(numbers)
    axes.set_xlabel("experiences")
    axes.set_ylabel("accuracy on all classes seen (%)")
    axes.grid(alpha=0.3)


def _differences(axes: Any, panel: Panel, looks: Looks) -> None:
    """Ours minus each, the best competitor on top; names in the colors of the curves are the legend of both."""
    for index, line in enumerate(panel.lines):
        found = panel.difference(line)
        if found is not None:
            middle, half, count = found
            error = half if count > 1 else 0
            axes.errorbar([middle], [index], xerr=[[error], [error]], capsize=3, **looks[line.name])
        elif line is panel.ours:
            axes.plot([0], [index], markersize=9, **looks[line.name])
    axes.set_yticks(range(len(panel.lines)), [_name(panel, index) for index in range(len(panel.lines))])
    for label, line in zip(axes.get_yticklabels(), panel.lines, strict=True):
        label.set_color(looks[line.name]["color"])
    axes.set_ylim(len(panel.lines) - 0.5, -0.5)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("ours minus it, after the last experience (points, 95 % interval)")
    axes.grid(axis="x", alpha=0.3)


def _name(panel: Panel, index: int) -> str:
    line = panel.lines[index]
    return f"{line.label}{', ours' * (line is panel.ours)}  {mean(line.last.values()):.1f} %"


def _marker(index: int) -> str:
    """Competitors whose colors repeat have other markers."""
    return "os^Dv"[index // 10 % 5]
