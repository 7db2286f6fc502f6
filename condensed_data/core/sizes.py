"""Human-readable byte counts, percentages and durations."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

_UNITS = ("B", "kB", "MB", "GB", "TB")


def format_bytes(size: float) -> str:
    """Format a byte count in decimal units: 1500000000 -> "1.5 GB"."""
    for unit in _UNITS[:-1]:
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} {_UNITS[-1]}"


def parse_bytes(text: str) -> int:
    """Parse a byte count: "1.5 GB" -> 1500000000. A bare number counts bytes; other text raises ValueError."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)i?[bB]?\s*", text)
    if match is None:
        raise ValueError(f"expected a number of bytes, such as 500MB or 3GB; got {text!r}.")
    return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))


def percent(fraction: float, std: float | None = None) -> str:
    """Format a fraction, with its standard deviation if given: (0.713, 0.004) -> "71.3 % ± 0.4"."""
    text = f"{100 * fraction:.1f} %"
    return text if std is None else f"{text} ± {100 * std:.1f}"


def mean_percent(fractions: Sequence[float]) -> str:
    """Format the mean of fractions; with the population standard deviation if there are several."""
    std = statistics.pstdev(fractions) if len(fractions) > 1 else None
    return percent(statistics.fmean(fractions), std)


def format_duration(seconds: float) -> str:
    """Format seconds: 0.123 -> "0.12 s", 61.4 -> "1 min 01 s", 7260 -> "2 h 01 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
