"""The benchmark of proxies, at a tiny scale: it reports existing measurements and trains nothing twice."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import fake_data
import pytest
from simulated_device import DEVICE

FOLDER = Path(__file__).parent
SIZES = (
    "--images",
    "120",
    "--val",
    "60",
    "--widths",
    "4",
    "--depths",
    "1",
    "2",
    "--epochs",
    "1",
    "--ipc",
    "1",
)
PROXIES = ("--recipes", "dm(iterations=1, batch=4, network=convnet-d1-w4)", "--steps", "3", "--rows", "5")


def test_measuring_and_reporting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    nas: Any = importlib.import_module("nas")
    fake_data.fashion_mnist(tmp_path / "data", train=200)
    folder = tmp_path / "nas"
    words = ["--data-root", str(tmp_path / "data"), "--folder", str(folder), *SIZES, *PROXIES]
    nas.main([*words, "--architectures", "3"])
    first = capsys.readouterr().out
    assert "3/3" in first
    assert [line.split()[0] for line in first.splitlines() if line.endswith("x")][1:5] == [
        "dm",
        "random",
        "herding",
        "early-stop",
    ]
    trials = (folder / "trials.jsonl").read_text().count("\n")
    assert trials == 3 * 5
    nas.main([*words, "--architectures", "4", "--report"])
    assert "3 configurations" in capsys.readouterr().out
    assert (folder / "trials.jsonl").read_text().count("\n") == trials
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [row["what"] for row in rows] == ["dataset", "dataset", "dataset", "report", "report"]
    assert rows[-1]["architectures"] == 3
    assert rows[-1]["args"]["device"] == "cpu"
    assert rows[-1]["dm"]["preparation_seconds"] == rows[0]["seconds"]
    assert (folder / "ranks.png").is_file()


def test_measurements_of_a_device_have_their_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    nas: Any = importlib.import_module("nas")
    words = ["--folder", str(tmp_path)]
    assert nas.parse(words).folder == tmp_path
    monkeypatch.setattr(nas, "choose_device", lambda device: DEVICE)
    asked = nas.parse([*words, "--device", "simulated"])
    assert (asked.device, asked.folder) == (DEVICE, tmp_path / str(DEVICE))
