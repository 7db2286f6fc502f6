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


ONCE = "Pretraining(epochs=1, networks=1)"
TEXTS = {name: f"{name}({TINY})" for name in ("dm", "dc", "dsa", "idc_i", "idc", "idm", "cafe", "m3d")}
TEXTS |= {
    f"iid_{base}": f"iid(base={base}, {TINY}, extractor=convnet-d1-w8, pretrain={ONCE})"
    for base in ("dm", "idm")
}
TEXTS["dance"] = f"dance({TINY}, pretrain={ONCE})"
TEXTS["mtt"] = "mtt(network=convnet-d2-w8, steps=3, batch=4, experts=1, epochs=2, ahead=1)"


@pytest.mark.parametrize("name", TEXTS)
def test_a_naive_sweep_is_that_of_the_package(modules: dict[str, Any], real: Real, name: str) -> None:
    run = _run(modules, real, TEXTS[name])
    naive, ours = modules["naive"].naive_of(_run(modules, real, TEXTS[name])), modules["sweep"].Ours(run)
    before = {name: tensor.detach().clone() for name, tensor in run.synthesis.learned.items()}
    repeats = 2 if name in ("dm", "m3d", "mtt") else 1  # other networks have learned from other draws by then
    for _ in range(repeats):
        naive.matching()
        ours.matching()
        naive.learning()
        ours.learning()
    theirs = [naive.images, naive.rate] if name == "mtt" else [naive.images]
    for known, tensor in zip(theirs, run.synthesis.learned, strict=True):
        learned, start = run.synthesis.learned[tensor].detach(), before[tensor]
        assert not torch.equal(learned, start)
        assert (known.detach() - learned).norm() < 1e-3 * (learned - start).norm(), tensor


def test_networks_learn_in_the_naive_loops(modules: dict[str, Any], real: Real) -> None:
    for text in (f"dsa({TINY})", f"idc({TINY})", f"idm({TINY})"):
        naive = modules["naive"].naive_of(_run(modules, real, text))
        naive.matching()
        weight = next(naive.members[0].network.parameters())
        before = weight.detach().clone()
        naive.learning()
        assert not torch.equal(weight, before), text


def test_what_has_no_loop_is_said(modules: dict[str, Any], real: Real) -> None:
    with pytest.raises(ValueError, match=r"no naive loop for random \(it learns nothing\)"):
        modules["naive"].naive_of(_run(modules, real, "random"))
    with pytest.raises(ValueError, match=r"no naive loop for dd \(Unrolled\)"):
        modules["naive"].naive_of(_run(modules, real, "dd(network=convnet-d2-w8, steps=1, epochs=1)"))


def test_the_benchmark_runs(modules: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules["sweep"], "SIDE", 64)
    out = tmp_path / "sweep.json"
    words = ["--data", "digits", "--recipe", f"dsa({TINY})", "--ipc", "2", "--repeats", "2", "--threads", "1"]
    modules["sweep"].main([*words, "--out", str(out)])
    row = json.loads(out.read_text())
    assert row["ratio"]["learning"] > 0
    assert row["ratio"]["timed"] > 0
    assert row["flops_of_matching"] > 1e6
    assert (row["recipe"], row["ipc"]) == (f"dsa({TINY})", 2)
    assert row["flops_per_second"] == pytest.approx(row["flops_of_matching"] / row["seconds"]["matching"])


def test_several_recipes(modules: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules["sweep"], "SIDE", 64)
    texts = [f"dm({TINY})", TEXTS["mtt"]]
    words = ["--data", "digits", "--ipc", "2", "--repeats", "2", "--threads", "1", "--recipe", *texts]
    files = ["--out", str(tmp_path / "s.json"), "--picture", str(tmp_path / "s.png")]
    modules["sweep"].main([*words, *files, "--cache", str(tmp_path)])
    rows = json.loads((tmp_path / "s.json").read_text())
    assert [row["recipe"] for row in rows] == texts
    assert [set(row["ratio"]) for row in rows] == [{"matching", "timed"}] * 2
    assert (tmp_path / "s.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="Unknown recipe 'dmm'"):
        modules["sweep"].main([*words, "dmm", *files])
