"""The table of `continual.py`: means over paired seeds, and differences from the best opponent."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean, stdev

from rows import Row
from scipy import stats

CONDENSED = ("fast", "dm", "dsa")
Accuracies = dict[int, float]


def report(rows: list[Row], held_out: int) -> str:
    """Accuracies after the last experience, and paired differences with 95 % intervals of Student's t."""
    lines = []
    for budget in sorted({row["bytes"] for row in rows}):
        found = _by_competitor([row for row in rows if row["bytes"] == budget and row["seed"] != held_out])
        if not found:
            continue
        lines.append(f"{budget:,} bytes")
        ordered = sorted(found, key=lambda name: -mean(found[name].values()))
        lines += [f"  {name:18} {_spread(list(found[name].values()))}" for name in ordered]
        best = next((name for name in ordered if not _is_condensed(name)), None)
        for name in ordered:
            if best is not None and _is_condensed(name):
                lines.append(f"  {name} minus {best}: {difference(found[name], found[best])}")
    return "\n".join(lines) or "No rows of the table's seeds."


def difference(ours: Accuracies, theirs: Accuracies) -> str:
    """Mean of the differences of common seeds, with its interval."""
    values = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if len(values) < 2:
        return f"{values[0]:+.1f} (1 seed)" if values else "no common seed"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{mean(values):+.1f} ± {half:.1f} ({len(values)} seeds)"


def _by_competitor(rows: list[Row]) -> dict[str, Accuracies]:
    """The last accuracy by competitor and seed."""
    found: dict[str, Accuracies] = defaultdict(dict)
    for row in rows:
        found[row["competitor"]][row["seed"]] = row["curve"][-1]
    return dict(found)


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f} (1 seed)"
    return f"{mean(values):.1f} ± {stdev(values):.1f} ({len(values)} seeds)"


def _is_condensed(name: str) -> bool:
    return name.partition("+")[2].startswith(CONDENSED)
