"""The ablation of IID's terms, in a tiny mode."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_tools import width

from condensed_data.methods.objectives import Centralization, Covariance

FOLDER = Path(__file__).parent
NET = "convnet-d2-w4"
TINY = (
    "--network",
    NET,
    "--extractor",
    NET,
    "--extractors",
    "1",
    "--epochs",
    "1",
    "--train-epochs",
    "1",
    "--runs",
    "1",
)


@pytest.fixture
def ablation(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("iid_ablation")


@pytest.fixture
def run(ablation: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs the benchmark on a few digits and returns the rows."""

    def start(*words: str) -> list[dict[str, Any]]:
        fixed = [
            "--out",
            str(tmp_path / "iid.jsonl"),
            "--samples",
            "60",
            "--ipc",
            "2",
            "3",
            "--iterations",
            "1",
            "2",
        ]
        monkeypatch.setenv("CONDENSED_DATA_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(importlib.import_module("iid_shares"), "DRAWS", 1)
        monkeypatch.setattr(sys, "argv", ["iid_ablation.py", *fixed, *TINY, *words])
        ablation.main()
        return [json.loads(line) for line in (tmp_path / "iid.jsonl").read_text().splitlines()]

    return start


def test_every_part_once_and_nothing_twice(
    run: Any,
    ablation: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = run("--figure", str(tmp_path / "iid.png"))
    text = capsys.readouterr().out
    assert [line.split(":")[0] for line in text.splitlines() if "accuracy in" in line] == list(ablation._PARTS)
    keys = [tuple(row[name] for name in ablation.COLUMNS) for row in rows]
    assert len(set(keys)) == len(keys) == 5 + 4 + 3 + 2 + 2  # rows of several parts are measured once
    terms = {(row["centralization"], row["covariance"]) for row in rows}
    assert {(0.0, 0.0), (0.05, 0.0), (0.0, 0.01), (0.05, 0.01), (0.005, 0.01), (0.05, 0.1)} <= terms
    assert {row["beta"] for row in rows if row["form"] == "exponential"} == set(ablation.BETAS)
    for row in rows:
        for parts in row["shares"].values():
            terms = {name: share for name, share in parts.items() if name != "distance"}
            assert sum(terms.values()) == pytest.approx(1)
            assert ("Centralization" in terms, "Covariance" in terms) == (
                row["centralization"] > 0,
                row["covariance"] > 0,
            )
            assert ("distance" in parts) == (row["centralization"] > 0)
    assert {(row["ipc"], row["iterations"]) for row in rows} == {(2, 1), (2, 2), (3, 2)}
    assert all(0 <= row["mean"] <= 1 for row in rows)
    assert width(tmp_path / "iid.png") > 0
    monkeypatch.setattr(ablation, "_measure", None)
    assert run() == rows
    assert capsys.readouterr().out == text


def test_the_recipe_of_a_row(ablation: Any) -> None:
    row = {
        "base": "idm",
        "ipc": 2,
        "iterations": 3,
        "form": "linear",
        "beta": 2.0,
        "batch": 7,
        "extractor_batch": 9,
        "network": NET,
        "extractor": NET,
    }
    row |= {"centralization": 0.5, "covariance": 0.0, "epochs": 4, "extractors": 5}
    recipe = ablation.recipe_of(row)
    (centralizing,) = (term for term in recipe.terms if isinstance(term.objective, Centralization))
    assert (centralizing.weight, centralizing.objective.beta, centralizing.sampler.batch) == (0.5, 2.0, 7)
    pretrain = centralizing.pool.pretrain
    assert (pretrain.epochs, pretrain.networks, pretrain.sgd.batch_size) == (4, 5, 9)
    assert not any(isinstance(term.objective, Covariance) for term in recipe.terms)
    assert (recipe.iterations, recipe.early_stopping) == (3, None)
    (covariance,) = (
        term.objective
        for term in ablation.recipe_of(row | {"covariance": 0.3}).terms
        if isinstance(term.objective, Covariance)
    )
    assert covariance.weight == 0.3
    exponential = ablation.recipe_of(row | {"form": "exponential"}).terms[-1]
    assert exponential.weight * exponential.objective.slope(3) == pytest.approx(0.5)  # both forms pull equally


def test_the_directions_are_those_of_the_largest_variance(ablation: Any) -> None:
    picture = importlib.import_module("iid_picture")
    spread = torch.tensor([1.0, 9.0, 0.1, 4.0])
    rows = torch.randn(400, 4, generator=torch.Generator().manual_seed(0)) * spread + 5
    center, axes = picture.principal(rows)
    torch.testing.assert_close(center, rows.mean(0))
    torch.testing.assert_close(axes.T @ axes, torch.eye(2), atol=1e-5, rtol=0)
    assert axes[:, 0].abs().argmax() == 1
    assert axes[:, 1].abs().argmax() == 3
