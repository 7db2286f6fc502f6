"""Byte counts, percentages and durations as text."""

from __future__ import annotations

import pytest

from condensed_data.core.sizes import format_bytes, format_duration, mean_percent, parse_bytes, percent


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (2304, "2.3 kB"), (5e9, "5 GB"), (9.2e15, "9.2e+03 TB")],
)
def test_format_bytes(size: float, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500MB", 500_000_000), (" 1.5 GB ", 1_500_000_000), ("3k", 3000), ("2GiB", 2_000_000_000)],
)
def test_parse_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "3 apples", "1.GB"])
def test_parse_bytes_rejects_other_text(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number of bytes, such as 500MB or 3GB; got"):
        parse_bytes(text)


def test_percentages() -> None:
    assert percent(0.713) == "71.3 %"
    assert percent(0.713, 0.0042) == "71.3 % ± 0.4"
    assert mean_percent([0.5]) == "50.0 %"
    assert mean_percent([0.4, 0.6]) == "50.0 % ± 10.0"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.123, "0.12 s"), (12.34, "12.3 s"), (59.99, "60.0 s"), (61.4, "1 min 01 s"), (7260, "2 h 01 min")],
)
def test_format_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
