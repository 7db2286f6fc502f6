"""`condensed-data build`; `cli_sources.py` holds the sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_data
import pytest
import torch
from cli_tools import NET, SMALL, fails, shorten, width

from condensed_data import CondensedDataset
from condensed_data.cli.main import main


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def test_build_saves_draws_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, log = tmp_path / "out", tmp_path / "run.jsonl"
    assert main(["build", "cli_sources:tiny", *SMALL, "--out", str(out), "--log", str(log)]) == 0
    text = capsys.readouterr().out
    assert "36 -> 6 (6.0 times fewer)" in text
    assert "2.3 kB -> 384 B" in text
    assert "2 iterations" in text
    assert f"image grid  {out / 'grid.png'}" in text
    assert "Accuracy on 24 test samples: convnet-d2-w4, quick protocol, 4 steps for all networks" in text
    assert [line.split()[0] for line in text.splitlines() if "%" in line][:3] == ["dm", "random", "whole"]
    assert "estimated" in text
    condensed = CondensedDataset.load(out)
    assert len(condensed.metadata.evaluations) == 1
    assert condensed.metadata.evaluations[0].training.name == "quick"
    assert "quick protocol" in (out / "README.md").read_text()
    assert width(out / "grid.png") > 0
    assert [json.loads(line)["iteration"] for line in log.read_text().splitlines()] == [1, 2]


def test_build_without_a_folder_reports_that_nothing_is_saved(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "cli_sources:tiny", *SMALL, "--no-evaluate"]) == 0
    text = capsys.readouterr().out
    assert "result      not saved; use --out DIR" in text
    assert "not measured (--no-evaluate)" in text


def test_build_from_image_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        fake_data.image_folder(tmp_path / split, {"ant": (255, 0, 0), "bee": (0, 255, 0)})
    out = tmp_path / "out"
    words = ("--image-size", "10", "--out", str(out))
    assert main(["build", f"imagefolder:{tmp_path}", *SMALL, *words]) == 0
    assert "Accuracy on 8 test samples" in capsys.readouterr().out
    condensed = CondensedDataset.load(out)
    assert (condensed.classes, tuple(condensed.images.shape)) == (["ant", "bee"], (4, 3, 10, 10))
    assert condensed[0][0].mode == "RGB"


def test_build_and_evaluate_from_torchvision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_data.fashion_mnist(tmp_path)
    out, root = str(tmp_path / "out"), ("--data-root", str(tmp_path))
    assert main(["build", "fashion-mnist", *SMALL, *root, "--out", out]) == 0
    assert "rounded to 8 bits" in capsys.readouterr().out
    words = ("--test", "fashion-mnist", "--network", NET, "--runs", "1", "--protocol", "quick", "--quiet")
    assert main(["evaluate", out, *words, *root]) == 0
    assert capsys.readouterr().out.startswith(f"{NET}: ")


def test_a_second_build_comes_from_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSED_DATA_CACHE", str(tmp_path / "cache"))
    words = ["build", "cli_sources:tiny", *(word for word in SMALL if word != "--no-cache"), "--no-evaluate"]
    texts = []
    for extra in ([], [], ["--force"]):
        assert main([*words, *extra]) == 0
        texts.append(capsys.readouterr().out)
    assert ["found in the cache" in text for text in texts] == [False, True, False]
    assert all("result      in the cache" in text for text in texts)


def test_a_longer_build_reports_which_iterations_its_time_covers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSED_DATA_CACHE", str(tmp_path / "cache"))
    words = ["build", "cli_sources:tiny", *(word for word in SMALL if word != "--no-cache"), "--no-evaluate"]
    for iterations, expected in (("2", "s, 2 iterations"), ("5", "s for the last 3 of 5 iterations")):
        assert main([*words, "--iterations", iterations]) == 0
        assert expected in capsys.readouterr().out


def test_build_without_a_test_split_names_the_command_to_evaluate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "cli_sources:only_train", *SMALL]) == 0
    text = capsys.readouterr().out
    assert "Accuracy was not measured: cli_sources:only_train has no test split" in text
    assert "condensed-data evaluate DIR --test SOURCE" in text


def test_set_option_accepts_paths_and_names_of_fields(tmp_path: Path) -> None:
    words = (
        "terms.0.augment.cutout=0.25",
        "batch=7",
        "optimizer.kind=adam",
        "network=ConvNet(width=4, depth=2)",
    )
    sets = [word for text in words for word in ("--set", text)]
    assert main(["build", "cli_sources:tiny", *SMALL, *sets, "--no-evaluate", "--out", str(tmp_path / "x")]) == 0
    recipe: Any = CondensedDataset.load(tmp_path / "x").recipe
    term = recipe.terms[0]
    assert (term.augment.cutout, term.sampler.batch, recipe.optimizer.kind) == (0.25, 7, "adam")
    assert (term.pool.network.width, recipe.iterations, recipe.ipc) == (4, 2, 2)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    contents = []
    for seed in (3, 3, 4):
        out = tmp_path / f"{len(contents)}"
        command = [
            "build",
            "cli_sources:tiny",
            *SMALL,
            "--no-evaluate",
            "--seed",
            str(seed),
            "--out",
            str(out),
        ]
        assert main(command) == 0
        contents.append((out / "condensed.safetensors").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_a_diverging_run_saves_its_last_good_state(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (*SMALL, "--iterations", "5", "--set", "optimizer.lr=1e38", "--out", out)
    message = fails(capsys, "build", "cli_sources:tiny", *words)
    assert "optimizer.lr=1e+38; try 1e+37" in message
    assert f"It was saved to {out}." in message
    assert bool(torch.isfinite(CondensedDataset.load(out).images).all())
