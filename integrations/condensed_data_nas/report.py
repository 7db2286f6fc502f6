"""RankReport: proxies compared with a reference, as a table, a CSV file and a figure.

Letters: n configurations.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from condensed_data.core.annotations import checked
from condensed_data.core.atomic import write_atomically
from condensed_data.core.torch_settings import own_settings
from condensed_data_nas.rank_statistics import Estimate

if TYPE_CHECKING:
    from PIL.Image import Image

CEILING = "other seed"
RELIABLE_TOP = 30  # correlations among fewer best configurations are mostly noise


def write_csv(path: str | Path, rows: Iterable[Sequence[Any]]) -> Path:
    """Write rows to a file; returns its path."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return write_atomically(Path(path), text.getvalue().encode())


@dataclass(frozen=True)
class ProxyRow:
    """One proxy compared with the reference.

    Attributes:
        name: of the proxy.
        values: (n,) its values, in the order of the configurations; minus infinity if it failed.
        spearman, kendall: over all configurations.
        top_spearman: k -> Spearman's correlation among the k best of the reference.
        top_recall: k -> fraction of the reference's k best among the proxy's k best.
        regret: accuracy, in [0, 1], lost on the reference by choosing the proxy's best configuration.
        seconds: per configuration; None if not measured.
        preparation_seconds: of preparation, such as condensing.
        speed_up: of a search over `RankReport.search_size`, including preparation; None if times are missing.
        failed: number of configurations that it could not measure.
    """

    name: str
    values: tuple[float, ...]
    spearman: Estimate
    kendall: Estimate
    top_spearman: Mapping[int, Estimate]
    top_recall: Mapping[int, Estimate]
    regret: Estimate
    seconds: float | None
    preparation_seconds: float
    speed_up: float | None
    failed: int

    def cells(self, sizes: list[int]) -> list[str]:
        """The row of a table, with correlation and recall for these numbers of best configurations."""
        low, high = 100 * self.regret.low, 100 * self.regret.high
        regret = f"{100 * self.regret.value:.2f} [{low:.2f}, {high:.2f}]"
        seconds = "" if self.seconds is None else f"{self.seconds:.3g}"
        speed_up = "" if self.speed_up is None else f"{self.speed_up:.3g}x"
        cells = [self.name, str(self.spearman), str(self.kendall), regret, seconds, speed_up]
        return cells + [str(part) for size in sizes for part in (self.top_spearman[size], self.top_recall[size])]


@dataclass(frozen=True)
class RankReport:
    """The result of `rank_report`; `str` gives its table.

    Attributes:
        configs: the n configurations that the reference could measure.
        reference: (n,) accuracy in [0, 1].
        rows: the proxies; the ceiling comes first if the reference has several networks.
        search_size: number of configurations of the search for which speed-ups are given.
        dropped: number of configurations that the reference could not measure.
        reference_seconds: of one network on the reference.
        runs: networks per reference value.
    """

    configs: tuple[dict[str, Any], ...]
    reference: tuple[float, ...]
    rows: tuple[ProxyRow, ...]
    search_size: int
    dropped: int
    reference_seconds: float | None
    runs: int

    def __getitem__(self, name: str) -> ProxyRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r} is not a proxy of this report. Known: {', '.join(row.name for row in self.rows)}.")

    def __str__(self) -> str:
        sizes = list(self.rows[0].top_spearman) if self.rows else []
        heads = ["proxy", "Spearman", "Kendall", "regret, points", "s each", "speed-up"]
        heads += [head for size in sizes for head in (f"top-{size} rho", f"recall@{size}")]
        table = [heads, *(row.cells(sizes) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in table
        ]
        return "\n".join([*lines, *self._notes(sizes)])

    def _notes(self, sizes: list[int]) -> list[str]:
        """How to read the table."""
        notes = [
            f"{len(self.configs)} configurations; the reference's best: {100 * max(self.reference):.1f} %. "
            "Brackets: 95 % bootstrap intervals over configurations.",
            f"Speed-up of a search over {self.search_size:,} configurations, including preparation.",
        ]
        if any(row.name == CEILING for row in self.rows):
            notes.append(f'"{CEILING}" is the reference with another seed. No proxy can be expected to rank better.')
        else:
            notes.append("The reference has one network per configuration: the noise of its ranking is unknown.")
        if any(size < RELIABLE_TOP for size in sizes):
            notes.append(f"Correlations among fewer than {RELIABLE_TOP} best are mostly noise; check their intervals.")
        if self.dropped:
            notes.append(f"{self.dropped} more could not be trained on the reference and are left out.")
        failed = [row for row in self.rows if row.failed]
        return notes + [f"{row.name} failed on {row.failed}, which it ranks last." for row in failed]

    @checked
    def to_csv(self, path: str | Path) -> Path:
        """Write one line per configuration: its values, the reference and every proxy."""
        names = sorted({name for config in self.configs for name in config})
        lines: list[list[Any]] = [[*names, "reference", *(row.name for row in self.rows)]]
        for index, (config, value) in enumerate(zip(self.configs, self.reference, strict=True)):
            settings = [config.get(name, "") for name in names]
            lines.append([*settings, value, *(row.values[index] for row in self.rows)])
        return write_csv(path, lines)

    @own_settings()
    @checked
    def plot(self, path: str | Path | None = None) -> Image:
        """Draw every proxy against the reference, one panel each; also to a PNG file if `path` is given.

        Raises:
            ImportError: without matplotlib.
            ValueError: for a report without proxies.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("RankReport.plot needs matplotlib: pip install condensed-data[plot]") from error
        from PIL import Image

        if not self.rows:
            raise ValueError("The report has no proxies to draw.")
        columns = min(4, len(self.rows))
        lines = math.ceil(len(self.rows) / columns)
        figure = Figure(figsize=(3.2 * columns, 3.2 * lines), dpi=120, layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).flatten()
        for axes, row in zip(panels, self.rows, strict=False):
            self._draw(axes, row)
        for axes in panels[len(self.rows) :]:
            axes.set_axis_off()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        if path is not None:
            write_atomically(Path(path), buffer.getvalue())
        buffer.seek(0)
        return Image.open(buffer).convert("RGB")

    def _draw(self, axes: Any, row: ProxyRow) -> None:
        values, reference = np.array(row.values), 100 * np.array(self.reference)
        finite = np.isfinite(values)
        axes.scatter(values[finite], reference[finite], s=12, alpha=0.7)
        best = int(np.argmax(values))
        axes.scatter(values[best], reference[best], s=40, facecolors="none", edgecolors="tab:red")
        axes.set(title=f"{row.name}: {row.spearman}", xlabel=row.name, ylabel="reference, %")
