"""The benchmark of factorized datasets, in a tiny mode: it runs, resumes and reports."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
TINY = {"iterations": 1, "width": 4, "batch": 4, "epochs": 1, "test-samples": 40, "seeds": 1}
FIXED = ["--source", "digits", "--device", "cpu", *(f"--{name}={value}" for name, value in TINY.items())]
SMALL = ["--set", "kfs:channels=1", "kfs:width=2", "kfs:codes=1", "kfs:fit=1"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("factorized")


def test_a_tiny_run_resumes(benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "rows.jsonl", tmp_path / "plot.png"
    words = [*FIXED, *SMALL, "--out", str(out), "--cache", str(tmp_path / "cache"), "--parts", "kfs", "haba"]
    benchmark.main([*words, "--plot", str(plot)])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["recipe"], row["ipc"], row["seed"]) for row in rows] == [
        ("dm", 1, 0),
        ("kfs", 1, 0),
        ("dm", 2, 0),
        ("haba", 2, 0),
    ]
    assert {row["floats"] for row in rows if row["recipe"] == "haba"} == {5 * 92 + 10 * 64}
    assert all((row["similarity"] is None) == (row["recipe"] == "dm") for row in rows)
    assert all(0 < row["similarity"] <= 1 for row in rows if row["similarity"] is not None)
    assert plot.stat().st_size > 0
    assert "kfs over dm at ipc 1, convnet-w4: " in capsys.readouterr().out
    before = out.read_text()
    benchmark.main(words)
    assert out.read_text() == before


def test_pairs_are_differences_of_one_seed(benchmark: Any) -> None:
    def row(recipe: str, seed: int, accuracy: float) -> dict[str, Any]:
        fixed = {"ipc": 1, "network": "n", "floats": 7, "samples": 3, "similarity": None}
        return {"recipe": recipe, "seed": seed, "accuracy": accuracy, **fixed}

    rows = [row("dm", 0, 0.5), row("dm", 1, 0.7), row("kfs", 0, 0.6), row("kfs", 1, 0.9), row("kfs", 2, 0.1)]
    assert "kfs over dm at ipc 1, n: 15.0 ± 7.1 (2 seeds)" in benchmark.report(rows)
