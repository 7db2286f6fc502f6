"""The text at the end of a build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Training, recipes
from condensed_data.cli import reporting as summary
from condensed_data.evaluation.baselines import Comparison, Row

COMPARISON = Comparison(
    condensed=Row("dm", (0.8, 0.9), 2.0, (0.7, 0.8)),
    random=Row("random", (0.5,), 2.0),
    whole=Row("whole set", (1.0, 1.0), 10.0),
    network="convnet",
    training=Training(name="quick", max_steps=100),
    test_samples=1234,
    epochs=100,
    full_steps=4000,
)


def test_accuracies_stand_under_their_protocol() -> None:
    lines = summary.format_comparison(COMPARISON).splitlines()
    assert lines[:4] == [
        "Accuracy on 1,234 test samples: convnet, quick protocol, 100 steps for every network",
        "  dm         85.0 % ± 5.0 (2 networks); rounded to 8 bits 75.0 % ± 5.0",
        "  random     50.0 % (1 subset)",
        "  whole set  100.0 % ± 0.0 (2 networks)",
    ]


def test_training_time_saved_is_estimated_from_the_measured_step() -> None:
    assert COMPARISON.full_seconds == pytest.approx(400)
    text = " ".join(summary.format_comparison(COMPARISON).split())
    assert "for 100 epochs: 2.0 s on the condensed set, about 6 min 40 s on the whole set" in text
    assert "estimated as 4,000 steps of 100 ms: 99.5 % of the time saved" in text


def test_no_time_is_claimed_where_none_is_saved() -> None:
    assert "no time saved" in summary.format_comparison(replace(COMPARISON, full_steps=10))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 30, "5 GiB"), (9 << 50, "9216 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert summary._bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.123, "0.12 s"), (12.34, "12.3 s"), (59.99, "60.0 s"), (61.4, "1 min 01 s"), (7260, "2 h 01 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert summary.duration(seconds) == text


def test_what_was_made(tiny_images: TensorDataset) -> None:
    format_build = CondensedDataset(tiny_images, recipes.random(ipc=2), cache=False, progress=False)
    text = summary.format_build(format_build, Path("there"), Path("there/grid.png"))
    assert text.splitlines() == [
        "TensorDataset condensed by random: 2 samples (1x12x12) for each of 3 classes, seed 0",
        "  samples     60 -> 6 (10 times fewer)",
        "  8 bit       8.438 KiB -> 864 bytes",
        "  float32     33.75 KiB -> 3.375 KiB (as stored)",
        next(line for line in text.splitlines() if line.startswith("  condensing  ")),
        "  saved in    there",
        "  image grid  there/grid.png",
    ]
    assert "saved in    the cache; --out DIR" in summary.format_build(format_build, None, None, cached=True)
