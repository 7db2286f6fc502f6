"""The results table: resumable rows, equal budgets, pairs and scores, in a tiny run and for given rows."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_tools import NET, shorten

from condensed_data import recipes
from condensed_data.data.augment import Identity
from condensed_data.evaluation.dd_ranking_scores import augmentation_robust, label_robust
from condensed_data.training.protocols import quick

FOLDER = Path(__file__).parent


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The files beside `table.py` by name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return {name: importlib.import_module(name) for name in ("rows", "table", "table_parts", "table_report")}


@pytest.fixture
def table(modules: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`table.main` on digits with a tiny network, short protocols and a cache of its own."""
    shorten(monkeypatch)
    plain = replace(quick(), epochs=2, augment=Identity())
    monkeypatch.setattr(modules["table"], "quick", lambda: plain)
    monkeypatch.setattr(modules["table_parts"], "PACE_SECONDS", 0.0)
    fixed = ["--data", "digits", "--out", str(tmp_path / "t.jsonl"), "--cache", str(tmp_path / "cache")]
    fixed += ["--ipc", "2", "--runs", "1", "--whole-epochs", "1", "--protocol", "quick"]
    return lambda *words: modules["table"].main([*fixed, *words])


def _rows(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]


SMALL = ("--set", f"dm:network={NET}", "--set", "dm:batch=4", "--networks", NET)


def test_a_tiny_table(
    table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--recipes", "whole", "random", "dm", "--iterations", "2", *SMALL, "--diversity", "raw"]
    table(*words)
    rows = [row for row in _rows(tmp_path) if "mean" in row]
    assert [row["recipe"] for row in rows] == ["whole", "random", "dm"]
    dm = rows[2]
    assert dm["iterations"] == 2
    assert dm["set"] == {"network": NET, "batch": "4"}
    assert dm["budget"] == {"iterations": 2}
    assert rows[1]["budget"] == {}
    assert dm["diversity"] > 0
    assert dm["diversity_real"] > 0
    assert 0 <= dm["mean"] == sum(dm["accuracies"]) <= 1
    before = _rows(tmp_path)
    table(*words)  # nothing is measured again
    assert _rows(tmp_path) == before
    monkeypatch.setattr(
        "condensed_data.engine.job.condense", None
    )  # the dataset is not condensed again for another network
    table(
        *words,
        "--networks",
        NET,
        "mlp",
        "--protocol",
        "quick",
        "unaugmented",
        "--render",
        str(tmp_path / "t.md"),
    )
    assert len([row for row in _rows(tmp_path) if row.get("network") == "mlp"]) == 6
    page = (tmp_path / "t.md").read_text()
    assert "### digits, 2 per class, unaugmented protocol" in page
    assert f"`dm`, network={NET}, batch=4 | 2 |" in page
    assert "label-robust" in page
    assert "augmentation-robust" in page
    assert (tmp_path / "t.png").stat().st_size > 1000


def test_a_budget_in_seconds_is_fixed_once(table: Any, tmp_path: Path, modules: dict[str, Any]) -> None:
    words = ["--recipes", "dm", "random", "--seconds", "0.2", *SMALL]
    table(*words)
    (pace,) = modules["rows"].Rows(tmp_path / "t.jsonl").find(kind="pace")
    assert pace["iterations"] == max(1, int(0.2 / pace["iteration_seconds"]))
    table(*words, "--seeds", "2")
    rows = _rows(tmp_path)
    assert [row["kind"] for row in rows if row.get("kind") == "pace"] == ["pace"]
    assert [row["iterations"] for row in rows if row["recipe"] == "dm" and "mean" in row] == [pace["iterations"]] * 2
    assert {row["seed"] for row in rows if row["recipe"] == "random" and "mean" in row} == {0, 1}


def test_a_failure_is_a_row_and_the_others_continue(table: Any, tmp_path: Path) -> None:
    words = ["--recipes", "iid", "random", "--networks", NET]  # IID's ResNet18 does not take 8x8 pixels
    table(*words)
    failed, made = (row for row in _rows(tmp_path) if "kind" not in row)
    assert "needs images of at least 9x9" in failed["error"]
    assert made["recipe"] == "random"
    table(*words)
    assert len(_rows(tmp_path)) == 3
    table(*words, "--retry")
    assert len(_rows(tmp_path)) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipes", "dmm"], "Unknown recipe 'dmm'"),
        (["--recipes", "dm(3)"], r"Cannot parse 'dm\(3\)'. Write NAME"),
        (["--recipes", "dm(bach=3)"], r"cannot be built: .*'bach'"),
        (["--recipes", "dm", "--set", "dm:bach=3"], "Unknown field 'bach'"),
        (["--recipes", "dm", "--set", "dsa:batch=3"], "write RECIPE:FIELD=VALUE with one of --recipes"),
        (["--recipes", "dm", "--networks", "covnet"], "Unknown network 'covnet'"),
    ],
)
def test_mistakes_are_reported_before_any_work(table: Any, tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(*words)
    assert not (tmp_path / "t.jsonl").exists()


def test_a_recipe_with_arguments(modules: dict[str, Any]) -> None:
    recipe_of = modules["table_parts"].recipe_of
    recipe = recipe_of("bdm(base=dsa, k=3, features=raw)", 4, {"optimizer.momentum": "0.25"}, 7)
    assert (recipe.name, recipe.ipc, recipe.iterations) == ("bdm_dsa", 4, 7)
    assert recipe.terms[0].sampler.within.k == 3
    assert recipe.optimizer.momentum == 0.25
    assert recipe_of("random", 4, {}, 7) == recipes.random(ipc=4)


def test_rows_survive_a_kill_and_a_claim_ends_with_its_process(modules: dict[str, Any], tmp_path: Path) -> None:
    rows = modules["rows"].Rows(tmp_path / "r.jsonl")
    rows.add({"a": 1})
    with rows.path.open("a") as file:
        file.write('{"a": 2, "b"')  # killed while it wrote
    rows.add({"a": 3})
    assert rows.all() == [{"a": 1}, {"a": 3}]
    assert rows.find(a=3) == [{"a": 3}]
    code = (
        f"import sys, time, pathlib; sys.path.insert(0, {str(FOLDER)!r}); from rows import Rows\n"
        f"with Rows(pathlib.Path({str(rows.path)!r})).claim('x', 1) as claimed:\n"
        "    print(claimed, flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with rows.claim("x", 1) as claimed, rows.claim("x", 2) as another:
            assert (claimed, another) == (False, True)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with rows.claim("x", 1) as claimed:
        assert claimed


def _row(recipe: str, mean: float, **other: Any) -> dict[str, Any]:
    row = {"data": "d", "recipe": recipe, "set": {}, "ipc": 10, "seed": 0, "network": "convnet", "runs": 1}
    row |= {"protocol": "quick", "precision": "fp32", "budget": {"iterations": 5}, "mean": mean}
    if recipe in ("whole", "random"):
        row["budget"] = {} if recipe == "random" else None
    return row | {"accuracies": [mean]} | other


def test_pairs(modules: dict[str, Any]) -> None:
    report = modules["table_report"]
    assert report.base_of("bdm(base=dsa, k=5)") == "dsa"
    assert report.base_of("idm(within=Clusters(5), batch=64)") == "idm(batch=64)"
    assert report.base_of("dsa") is None
    rows = [
        _row("dsa", 0.5, diversity=1.0, diversity_real=2.0),
        _row("dsa", 0.6, seed=1),
        _row("dsa", 0.9, set={"batch": "3"}),
        _row("bdm(base=dsa, k=5)", 0.45, diversity=1.5, diversity_real=2.0),
        _row("bdm(base=dsa, k=5)", 0.7, seed=1),
        _row("bdm(base=dsa, k=5)", 0.7, seed=2),  # without a partner
    ]
    found = report.pairs(rows)
    assert [row["difference"] for row in found] == pytest.approx([-0.05, 0.1])
    assert [row["diversity_difference"] for row in found] == [0.25, None]
    # mean 2.5 points, deviation of -5 and 10 around it
    table = report._pairs(rows)
    assert "| -5.0, +10.0 | +2.5 ± 10.6 | +0.25 |" in table
    assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) == 1


def test_scores_and_cells(modules: dict[str, Any], tmp_path: Path) -> None:
    rows = [
        _row("dm", 0.8),
        _row("dm", 0.7, seed=1),
        _row("random", 0.6),
        _row("whole", 0.9, ipc=0, epochs=19),
    ]
    rows += [_row("dm", 0.65, protocol="unaugmented"), _row("random", 0.55, protocol="unaugmented")]
    page = modules["table_report"].render(rows, tmp_path / "page.md")
    expected = label_robust(whole=0.9, condensed=0.75, random=0.6)
    robust = augmentation_robust(condensed=0.75, random=0.6, condensed_plain=0.65, random_plain=0.55)
    assert f"| 75.0 ± 7.1 (2 × 1) | {expected:.3f} | {robust:.3f} |" in page
    assert "| `whole` | 20 epochs |  | 90.0 (1 × 1) |" in page


@pytest.mark.slow
def test_mnist_5000(modules: dict[str, Any]) -> None:
    train, test = (modules["table_parts"].Mnist5000(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (4000, 1000)
    assert torch.tensor(train.targets).bincount().tolist() == [400] * 10
    assert torch.tensor(test.targets).bincount().tolist() == [100] * 10
    assert train[0][0].shape == (1, 28, 28)
    assert 0.9 < float(train.images.max()) <= 1
