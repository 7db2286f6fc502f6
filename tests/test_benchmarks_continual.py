"""The benchmark of condensed memories runs, goes on where it stopped, and pairs its seeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fake_data
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_it_runs_once_and_reports(tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path)
    out = tmp_path / "rows.jsonl"
    words = ["--data-root", tmp_path, "--out", out, "--bytes", 7840, "--seeds", 1]
    words += ["--competitors", "gdumb+raw14", "gdumb+class", "er_ace"]
    words += ["--lr", 0.05, "--augment", 0, "--steps", 1, "--final-only"]
    first = _run(words)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["competitor"] for row in rows] == ["gdumb+raw14", "gdumb+class", "er_ace"]
    assert rows[0]["memory_bytes"] <= 7840
    assert [len(row["curve"]) for row in rows] == [1, 1, 5]
    assert first.count(" % ") == 3
    assert _run(words) == ""
    assert "7,840 bytes" in _run(["--out", out, "--report"])


def _run(words: list[object]) -> str:
    paths = (ROOT, ROOT / "integrations")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    script = ROOT / "tests" / "benchmarks" / "continual.py"
    found = subprocess.run(
        [sys.executable, str(script), *map(str, words)], env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout.strip()
