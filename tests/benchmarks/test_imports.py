"""Importing the package: which modules it loads, and a run of the benchmark of its time."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
HEAVY = {
    "avalanche",
    "datasets",
    "huggingface_hub",
    "matplotlib",
    "optuna",
    "pandas",
    "ray",
    "scipy",
    "sklearn",
    "torch._dynamo",
    "torchvision",
    "triton",
}


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`imports.py` as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("imports")


def test_the_package_loads_nothing_heavy_beyond_torch(imports: Any) -> None:
    base = imports.modules("import torch")  # on some machines torch itself loads triton
    loaded = imports.modules(imports.STATEMENTS["used"])
    assert {"torch", "condensed_data.methods.recipes", "condensed_data.dataset"} <= loaded
    assert not (loaded - base) & HEAVY


def test_the_benchmark_runs(imports: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {
        "torch and torchvision": "import math",
        "package": "import condensed_data",
        "all": "import decimal",
    }
    monkeypatch.setattr(imports, "STATEMENTS", plain)
    imports.main(["--out", str(tmp_path / "i.json"), "--repeats", "1"])
    row = json.loads((tmp_path / "i.json").read_text())
    assert row["ratio"]["torch and torchvision"] == 1
    assert row["seconds"]["package"] > 0
    assert "decimal" in row["loaded_beyond"]
