"""The naive loops agree with the package, and the benchmark that compares their times runs."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from condensed_data.parts import Context
from condensed_data.run import Run
from condensed_data.sources.real import Real
from condensed_data.sources.source import inspect
from condensed_data.streams import Streams

FOLDER = Path(__file__).parent / "benchmarks"
TINY = "network=convnet-d2-w8, batch=8"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The files beside `sweep.py` by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return {name: importlib.import_module(name) for name in ("naive", "sweep", "table_parts")}


@pytest.fixture
def real(tiny_images: torch.utils.data.TensorDataset) -> Real:
    return Real.read(inspect(tiny_images), progress=False)


def _run(modules: dict[str, Any], real: Real, text: str) -> Run:
    recipe = modules["table_parts"].recipe_of(text, 2, {}, 5).resolve(real.sample_shape, [""] * 3)
    return Run(recipe, Context(real, 2, Streams(3), torch.device("cpu"), "fp32", compiles=False))


@pytest.mark.parametrize("name", ["dm", "dc", "dsa", "idc_i", "idc", "idm", "cafe"])
def test_a_naive_sweep_is_that_of_the_package(modules: dict[str, Any], real: Real, name: str) -> None:
    run = _run(modules, real, f"{name}({TINY})")
    naive, ours = modules["naive"].Naive(_run(modules, real, f"{name}({TINY})")), modules["sweep"].Ours(run)
    (learned,) = run.synthesis.learned.values()
    before = learned.detach().clone()
    assert torch.equal(naive.images, before)
    for _ in range(2 if name == "dm" else 1):  # other networks have learned from other draws by then
        naive.matching()
        ours.matching()
        naive.learning()
        ours.learning()
    assert not torch.equal(learned, before)
    assert (naive.images - learned).norm() < 1e-3 * (learned - before).norm()


def test_networks_learn_in_the_naive_loops(modules: dict[str, Any], real: Real) -> None:
    for text in (f"dsa({TINY})", f"idc({TINY})", f"idm({TINY})"):
        naive = modules["naive"].Naive(_run(modules, real, text))
        naive.matching()
        weight = next(naive.members[0].network.parameters())
        before = weight.detach().clone()
        naive.learning()
        assert not torch.equal(weight, before), text


def test_what_has_no_loop_is_said(modules: dict[str, Any], real: Real) -> None:
    with pytest.raises(ValueError, match=r"no naive loop for random \(it learns nothing\)"):
        modules["naive"].Naive(_run(modules, real, "random"))
    with pytest.raises(ValueError, match=r"no naive loop for m3d \(.*"):
        modules["naive"].Naive(_run(modules, real, f"m3d({TINY})"))


def test_the_benchmark_runs(modules: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules["sweep"], "SIDE", 64)
    out = tmp_path / "sweep.json"
    words = ["--data", "digits", "--recipe", f"dsa({TINY})", "--ipc", "2", "--repeats", "2", "--threads", "1"]
    modules["sweep"].main([*words, "--out", str(out)])
    row = json.loads(out.read_text())
    assert row["ratio"]["learning"] > 0
    assert row["ratio"]["timed"] > 0
    assert row["flops_of_matching"] > 1e6
    assert row["flops_per_second"] == pytest.approx(row["flops_of_matching"] / row["seconds"]["matching"])
