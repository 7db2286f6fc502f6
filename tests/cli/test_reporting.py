"""The text that `build` prints at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Training, recipes
from condensed_data.cli.reporting import format_build, format_comparison
from condensed_data.evaluation.baselines import Comparison, ComparisonRow

COMPARISON = Comparison(
    condensed=ComparisonRow("dm", (0.8, 0.9), 2.0, (0.7, 0.8)),
    random=ComparisonRow("random", (0.5,), 2.0),
    whole=ComparisonRow("whole set", (1.0, 1.0), 10.0),
    network="convnet",
    training=Training(name="quick", max_steps=100),
    test_samples=1234,
    epochs=100,
    full_steps=4000,
)


def test_accuracies_are_listed_under_their_protocol() -> None:
    lines = format_comparison(COMPARISON).splitlines()
    assert lines[:4] == [
        "Accuracy on 1,234 test samples: convnet, quick protocol, 100 steps for all networks",
        "  dm         85.0 % ± 5.0 (2 networks); rounded to 8 bits 75.0 % ± 5.0",
        "  random     50.0 % (1 subset)",
        "  whole set  100.0 % ± 0.0 (2 networks)",
    ]


def test_training_time_saved_is_estimated_from_the_measured_step() -> None:
    assert COMPARISON.full_seconds == pytest.approx(400)
    text = " ".join(format_comparison(COMPARISON).split())
    assert "for 100 epochs: 2.0 s on the condensed dataset, about 6 min 40 s on the full dataset" in text
    assert "(estimated as 4,000 steps of 100 ms): saves 99.5 % of the time" in text


def test_no_time_is_claimed_where_none_is_saved() -> None:
    assert "saves no time" in format_comparison(replace(COMPARISON, full_steps=10))


def test_a_build_is_described(tiny_images: TensorDataset) -> None:
    condensed = CondensedDataset(tiny_images, recipes.random(ipc=2), cache=False, progress=False)
    text = format_build(condensed, Path("there"))
    assert text.splitlines() == [
        "TensorDataset condensed by random: 2 samples of shape 1x12x12 for each of 3 classes, seed 0",
        "  samples     60 -> 6 (10 times fewer)",
        "  8 bit       8.64 kB -> 864 B",
        "  float32     34.6 kB -> 3.46 kB",
        "  stored      3.5 kB, labels included",
        next(line for line in text.splitlines() if line.startswith("  condensing  ")),
        "  result      there",
        "  image grid  there/grid.png",
    ]
    assert "result      in the cache; use --out DIR" in format_build(condensed, None, cached=True)
