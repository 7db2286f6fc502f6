"""A rank report as a table, as CSV and as a picture."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from condensed_data.core.atomic import write_whole

if TYPE_CHECKING:
    from PIL.Image import Image

    from condensed_data_nas.report import ProxyRow, RankReport

_WIDTHS = {"Spearman": 21, "Kendall": 21, "regret, points": 21, "s each": 9, "speed-up": 9}


def table(report: RankReport) -> str:
    """The table, and what to keep in mind about it."""
    from condensed_data_nas.report import CEILING, MANY_ENOUGH

    sizes = list(report.rows[0].tops) if report.rows else []
    heads = ["proxy", *_WIDTHS, *(name for size in sizes for name in (f"top-{size} rho", f"recall@{size}"))]
    longest = max([12, *(len(row.name) for row in report.rows)])
    widths = [longest, *_WIDTHS.values(), *(width for _ in sizes for width in (21, 20))]
    lines = ["  ".join(head.ljust(width) for head, width in zip(heads, widths, strict=True)).rstrip()]
    for row in report.rows:
        cells = _cells(row, sizes)
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    notes = [
        f"{len(report.configs)} configurations; the reference's best: {100 * max(report.reference):.1f} %. "
        "Brackets: 95 % bootstrap intervals over configurations.",
        f"Speed-up of a search over {report.architectures:,} configurations, preparation included.",
    ]
    if any(row.name == CEILING for row in report.rows):
        notes.append(
            f'"{CEILING}" is the reference with another seed: no proxy can be expected to rank better.'
        )
    else:
        notes.append("The reference has one network each: how much of its ranking is noise is not known.")
    if any(size < MANY_ENOUGH for size in sizes):
        notes.append(
            f"Correlations among fewer than {MANY_ENOUGH} best are mostly noise: mind the intervals."
        )
    if report.dropped:
        notes.append(f"{report.dropped} more could not be trained on the reference, and are left out.")
    notes += [f"{row.name} failed on {row.failed}, which it ranks last." for row in report.rows if row.failed]
    return "\n".join([*lines, *notes])


def _cells(row: ProxyRow, sizes: list[int]) -> list[str]:
    points = row.regret
    loss = f"{100 * points.value:.2f} [{100 * points.low:.2f}, {100 * points.high:.2f}]"
    seconds = "" if row.seconds is None else f"{row.seconds:.3g}"
    faster = "" if row.speed_up is None else f"{row.speed_up:.3g}x"
    cells = [row.name, str(row.spearman), str(row.kendall), loss, seconds, faster]
    return cells + [str(part) for size in sizes for part in (row.tops[size], row.recalls[size])]


def to_csv(report: RankReport, path: Path) -> Path:
    """One line a configuration, see `RankReport.to_csv`."""
    names = sorted({name for config in report.configs for name in config})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "reference", *(row.name for row in report.rows)])
    for index, (config, value) in enumerate(zip(report.configs, report.reference, strict=True)):
        settings = [config.get(name, "") for name in names]
        writer.writerow([*settings, value, *(row.values[index] for row in report.rows)])
    return write_whole(path, text.getvalue().encode())


def plot(report: RankReport, path: Path | None) -> Image:
    """A panel a proxy, see `RankReport.plot`.

    Raises:
        ImportError: without matplotlib.
        ValueError: for a report without proxies.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("A picture of ranks needs matplotlib: pip install condensed-data[plot]") from error
    from PIL import Image

    if not report.rows:
        raise ValueError("The report has no proxies: there is nothing to draw.")
    columns = min(4, len(report.rows))
    rows = math.ceil(len(report.rows) / columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows), dpi=120, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    target = 100 * np.array(report.reference)
    for axes, row in zip(panels, report.rows, strict=False):
        values = np.array(row.values)
        shown = np.isfinite(values)
        axes.scatter(values[shown], target[shown], s=12, alpha=0.7)
        best = int(np.argmax(values))
        axes.scatter(values[best], target[best], s=40, facecolors="none", edgecolors="tab:red")
        axes.set(title=f"{row.name}: {row.spearman}", xlabel=row.name, ylabel="reference, %")
    for axes in panels[len(report.rows) :]:
        axes.set_axis_off()
    FigureCanvasAgg(figure).draw()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    if path is not None:
        write_whole(path, buffer.getvalue())
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")
