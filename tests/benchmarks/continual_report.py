"""The table of `continual.py`: accuracies after each experience, and paired differences from our line.

A line is a competitor with its setting; its seeds are paired with those of our line. Means over seeds are given with
their standard deviation, differences with the 95 % interval of Student's t.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from rows import Row
from scipy import stats

CONDENSED = ("fast", "dm", "dsa")  # memories at equal bytes
CORESETS = ("random", "herding", "k_center", "k_means", "forgetting")  # recipes that keep real samples
Values = dict[int, float]


@dataclass(frozen=True)
class Line:
    """A competitor with one setting.

    Attributes:
        name: of the competitor.
        setting: learning rate and the like.
        condensed: whether its memory learns samples.
        curves: by seed, accuracy in percent after each experience; only the last one if no more was measured.
        condensing: maximum seconds of condensing over experiences, or None.
    """

    name: str
    setting: str
    condensed: bool
    curves: dict[int, list[float]]
    condensing: float | None

    @property
    def last(self) -> Values:
        """Accuracy after the last experience, by seed."""
        return {seed: curve[-1] for seed, curve in self.curves.items()}

    @property
    def label(self) -> str:
        return f"{self.name} ({self.setting})"

    def after(self, number: int, experiences: int) -> Values:
        """Accuracy after experience `number`, by seed, of seeds with complete curves."""
        return {seed: curve[number] for seed, curve in self.curves.items() if len(curve) == experiences}


@dataclass(frozen=True)
class Panel:
    """Lines that may be compared, best first.

    Attributes:
        title: the budget, or the protocol.
        lines: competitors.
        ours: the line that others are compared with, or None if no memory learns.
        experiences: of the longest curve.
    """

    title: str
    lines: tuple[Line, ...]
    ours: Line | None
    experiences: int

    def difference(self, line: Line, number: int | None = None) -> tuple[float, float, int] | None:
        """Ours minus a line's after an experience, the last one for None: see `paired`."""
        if self.ours is None or line is self.ours:
            return None
        if number is None:
            return paired(self.ours.last, line.last)
        pair = (one.after(number, self.experiences) for one in (self.ours, line))
        return paired(*pair)


def paired(ours: Values, theirs: Values) -> tuple[float, float, int] | None:
    """Mean difference of common seeds, half of its 95 % interval (infinite for one seed), and their number."""
    values = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if not values:
        return None
    if len(values) == 1:
        return values[0], float("inf"), 1
    half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean(values), half, len(values)


def panels(rows: Sequence[Row], ours: str | None) -> list[Panel]:
    """The rows of the table, without those that chose learning rates.

    Raises:
        SystemExit: if `ours` is not a competitor.
    """
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.get("split") is None:
            found[_title(row)].append(row)
    names = {row["competitor"] for group in found.values() for row in group}
    if ours is not None and ours not in names:
        raise SystemExit(f"--ours {ours} has no rows; there are: {', '.join(sorted(names)) or 'none'}.")
    ordered = sorted(found, key=lambda title: found[title][0].get("bytes", 0))
    return [_panel(title, found[title], ours) for title in ordered]


def report(rows: Sequence[Row], ours: str | None = None) -> str:
    """Tables of all panels.

    Args:
        ours: competitor to compare the others with; by default the best condensed memory.
    """
    return "\n\n".join(_text(panel) for panel in panels(rows, ours)) or "No rows of the table's seeds."


def _text(panel: Panel) -> str:
    lines = [panel.title, *(_row(panel, line) for line in panel.lines)]
    whole = [line for line in panel.lines if line.after(0, panel.experiences)]
    if panel.experiences > 1 and whole:
        lines.append("  after each experience")
        numbers = range(panel.experiences)
        for line in whole:
            means = (f"{mean(line.after(number, panel.experiences).values()):6.1f}" for number in numbers)
            lines.append(f"    {line.label:52} {' '.join(means)}")
        for line in whole:
            differences = [_difference(panel.difference(line, number)) for number in numbers]
            if any(differences):
                lines.append(f"    ours minus {line.name:41} {'  '.join(differences)}")
    return "\n".join(lines)


def _row(panel: Panel, line: Line) -> str:
    values = list(line.last.values())
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    difference = _difference(panel.difference(line))
    compared = "ours" if line is panel.ours else f"ours minus it {difference}" if difference else ""
    condensing = f", condensing at most {line.condensing:.1f} s per experience" if line.condensing else ""
    seeds = f"({len(values)} seed{'s' * (len(values) > 1)})"
    return f"  {line.label:54} {mean(values):5.1f}{spread} {seeds:9}  {compared}{condensing}"


def _difference(found: tuple[float, float, int] | None) -> str:
    if found is None:
        return ""
    middle, half, count = found
    return f"{middle:+.1f} (1 seed)" if count == 1 else f"{middle:+.1f} ± {half:.1f}"


def _panel(title: str, rows: list[Row], ours: str | None) -> Panel:
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["competitor"], _setting(row)].append(row)
    lines = [_line(name, setting, found) for (name, setting), found in grouped.items()]
    lines.sort(key=lambda line: -mean(line.last.values()))
    candidates = (line for line in lines if line.name == ours or (ours is None and line.condensed))
    return Panel(title, tuple(lines), next(candidates, None), max(len(row["curve"]) for row in rows))


def _line(name: str, setting: str, rows: list[Row]) -> Line:
    # if a seed was measured twice, after the last experience only and after each, the complete curve counts
    whole = sorted(rows, key=lambda row: len(row["curve"]))
    key = "condensing_cpu_seconds" if all("condensing_cpu_seconds" in row for row in rows) else None
    most = max(max(row[key or "condensing_seconds"]) for row in rows)
    return Line(name, setting, _condensed(rows[0]), {row["seed"]: row["curve"] for row in whole}, most)


def _title(row: Row) -> str:
    if row.get("protocol") == "memory-only":
        return (
            f"{row['data']}, {row['per_class']} samples per class, {row['experiences']} experiences, memory only, "
            f"{row['network']}"
        )
    return f"{row['bytes']:,} bytes"


def _setting(row: Row) -> str:
    if row.get("protocol") == "memory-only":
        parts = {"iterations": row["iterations"], "steps": row["steps"], "first samples": row["samples"]}
        changed = [f"{value} {name}" for name, value in parts.items() if value is not None]
        return ", ".join(changed) or "as published"
    return f"lr {row['lr']}, {'augmented' if row['augment'] else 'plain'}, {row['steps']} steps"


def _condensed(row: Row) -> bool:
    name: str = row["competitor"]
    if row.get("protocol") == "memory-only":
        return name.partition("(")[0] not in CORESETS
    return name.partition("+")[2].startswith(CONDENSED)
