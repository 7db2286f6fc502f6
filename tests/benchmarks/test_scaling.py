"""The scaling benchmark resumes and fits exponents; the evaluation benchmark trains the same network on both sides."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from condensed_data.core.process_group import ProcessGroup
from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import SiameseAugment
from condensed_data.training.protocol import Training
from condensed_data.training.trainer import Trainer

FOLDER = Path(__file__).parent
SIZES = {"classes": 2, "ipc": 1, "side": 8, "width": 4, "source": 6, "batch": 4, "repeats": 1}
TINY = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The benchmarks by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return {name: importlib.import_module(name) for name in ("evaluation", "rows", "scaling")}


def test_scaling_measures_once_and_draws(
    modules: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, picture = tmp_path / "s.jsonl", tmp_path / "s.png"
    words = ["--out", str(out), "--picture", str(picture), *TINY, "--precision", "fp32"]
    words += ["--recipes", "dm", "--axes", "classes", "ipc", "ranks"]
    words += ["--values", "classes=2,3", "ipc=1,2", "ranks=1,2"]
    modules["scaling"].main(words)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["axis"], row[row["axis"]]) for row in rows] == [
        ("classes", 2),
        ("classes", 3),
        ("ipc", 1),
        ("ipc", 2),
        ("ranks", 1),
        ("ranks", 2),
    ]
    assert all(row["seconds"] > 0 for row in rows)
    assert capsys.readouterr().out.count("exponent") == 3
    assert picture.stat().st_size > 1000
    monkeypatch.setattr(modules["scaling"], "measure", None)  # nothing is measured again
    modules["scaling"].main(words)
    with pytest.raises(SystemExit, match="write AXIS=NUMBER"):
        modules["scaling"].main([*words, "--values", "classs=2"])


def test_a_run_has_the_sizes_of_its_point(modules: dict[str, Any]) -> None:
    point = modules["scaling"].Point("dsa", classes=3, ipc=2, side=8, width=4, source=5, channels=2, batch=4)
    run = modules["scaling"]._run(point, ProcessGroup())
    assert len(run.context.real) == 15
    assert run.context.real.sample_shape == (2, 8, 8)
    assert [tuple(tensor.shape) for tensor in run.synthetic_data.learned.values()] == [(6, 2, 8, 8)]
    (term,) = run.recipe.terms
    assert (term.pool.network.width, term.sampler.batch) == (4, 4)


def test_exponents(modules: dict[str, Any], tmp_path: Path) -> None:
    rows = modules["rows"].Rows(tmp_path / "r.jsonl")
    for value in (4, 1, 2):
        rows.add({"axis": "ipc", "recipe": "dm", "ipc": value, "seconds": 0.3 * value**1.5})
        rows.add({"axis": "source", "recipe": "dm", "source": value, "seconds": 0.3})
    rows.add({"axis": "side", "recipe": "dm", "side": 3, "seconds": 1.0})
    found = modules["scaling"].exponents(rows)
    assert found == {("ipc", "dm"): pytest.approx(1.5), ("source", "dm"): pytest.approx(0, abs=1e-9)}


def test_the_naive_loop_trains_the_same_network(modules: dict[str, Any]) -> None:
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.randn(10, 1, 8, 8, generator=draw), torch.arange(10) % 3
    training = Training(epochs=4, batch_size=4, augment=SiameseAugment(per_sample=True))
    trainer = Trainer.prepare(images, labels, network="convnet-d1-w4", num_classes=3, training=training)
    ours, naive = trainer.fit(RandomStreams(1)), modules["evaluation"].naive(trainer, RandomStreams(1))
    for mine, theirs in zip(ours.parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    mixing = replace(trainer, training=replace(training, cutmix=0.5))
    with pytest.raises(ValueError, match="neither CutMix nor soft labels"):
        modules["evaluation"].naive(mixing, RandomStreams(1))


def test_the_evaluation_benchmark_runs(modules: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "e.json"
    words = ["--out", str(out), "--shape", "1", "8", "8", "--classes", "3", "--ipc", "2", "--steps", "2"]
    words += ["--network", "convnet-d1-w4", "--repeats", "2", "--threads", "1", "--precision", "fp32"]
    modules["evaluation"].main([*words, "--protocol", "quick"])
    row = json.loads(out.read_text())
    assert (row["samples"], row["batch"], row["steps_of_the_protocol"]) == (6, 6, 301)
    assert math.isclose(row["ratio"], row["naive_seconds_a_step"] / row["seconds_a_step"])
