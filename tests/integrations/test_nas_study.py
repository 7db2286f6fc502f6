"""Searches with Optuna, killed and continued, and `condensed-data nas`."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nas_data
import optuna
import pytest
from cli_tools import fails
from nas_data import FINE, SPACE, TOO_DEEP, objective
from optuna.trial import TrialState

from condensed_data.cli.main import main
from condensed_data_nas.optuna_study import LiveTable, search


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_a_study_prunes_and_records_costs(untouched_rng: None) -> None:
    sampler = optuna.samplers.GridSampler({name: list(values) for name, values in SPACE.items()}, seed=0)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.optimize(objective(), n_trials=14)
    states = [trial.state for trial in study.trials]
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in study.trials:
        assert {"seconds"} <= trial.user_attrs.keys() or trial.intermediate_values
        if trial.params["depth"] == 4:
            assert trial.state == TrialState.PRUNED
            assert "at least 16x16" in trial.user_attrs["error"]
    best = study.best_trial
    assert best.value == objective()(best.params)
    assert {"seconds", "parameters", "flops", "accuracies"} <= best.user_attrs.keys()
    assert any(trial.state == TrialState.PRUNED and trial.intermediate_values for trial in study.trials)


def test_a_build_model_that_suggests_values_itself() -> None:
    study = search(objective(nas_data.by_trial, space=None), 5, sampler="random")
    assert all(trial.params.keys() == {"width", "depth"} for trial in study.trials)
    trial = optuna.trial.FixedTrial({"width": 8, "depth": 4})
    with pytest.raises(optuna.TrialPruned, match="at least 16x16"):
        objective(nas_data.by_trial, space=None)(trial)
    with pytest.raises(optuna.TrialPruned, match="at least 16x16"):
        objective()(optuna.trial.FixedTrial(TOO_DEEP))
    assert objective()(optuna.trial.FixedTrial(FINE)) == objective()(FINE)


def test_bugs_end_the_study() -> None:
    with pytest.raises(KeyError, match="nothing"):
        search(objective(lambda config: config["nothing"]), 2)


def test_a_killed_study_continues(tmp_path: Path) -> None:
    """After a kill in its fourth trial, finished trials are kept, and the interrupted configuration is tried again."""
    file = tmp_path / "studies" / "one.db"
    killed = subprocess.run([sys.executable, nas_data.__file__, str(file)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = optuna.load_study(study_name="nas", storage=f"sqlite:///{file}").trials
    assert [trial.state for trial in before[:3]].count(TrialState.RUNNING) == 0
    assert before[3].state == TrialState.RUNNING
    study = search(objective(nas_data.by_trial, space=None), 6, storage=file)
    assert [trial.value for trial in study.trials[:3]] == [trial.value for trial in before[:3]]
    assert study.trials[3].state == TrialState.FAIL
    assert study.trials[4].params.items() >= before[3].params.items()
    finished = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    assert len(finished) == 6
    assert len(search(objective(nas_data.by_trial, space=None), 6, storage=file).trials) == len(study.trials)


def test_a_running_trial_of_a_live_process_is_left_alone(tmp_path: Path) -> None:
    from condensed_data_nas import optuna_study

    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'one.db'}", study_name="nas")
    trial = study.ask()
    trial.set_user_attr(optuna_study.WORKER, f"{optuna_study.socket.gethostname()}:{os.getppid()}")
    optuna_study._retry_killed(study)
    assert study.trials[0].state == TrialState.RUNNING


def test_the_live_table_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, drawn in ((Terminal(), 3), (io.StringIO(), 0)):
        search(objective(), 4, sampler="random", callbacks=[LiveTable(4, 2, stream)])
        text = stream.getvalue()
        assert text.count("\x1b[2K") >= 3 * drawn
        assert (text.count("A") >= 3) == bool(drawn)
        assert "4/4  " in text
        assert all(word in text for word in ("width=", " s  "))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder with a condensed dataset of 8x8 images."""
    words = ["--recipe", "random", "--ipc", "4", "--quiet", "--no-cache", "--no-evaluate"]
    assert main(["build", "cli_sources:tiny", *words, "--out", str(tmp_path / "set")]) == 0
    return tmp_path / "set"


FEW = (
    "--val",
    "cli_sources:tiny",
    "--trials",
    "4",
    "--epochs",
    "2",
    "--protocol",
    "quick",
    "--device",
    "cpu",
)
SMALL = (
    "--space",
    "width=4,8",
    "--space",
    "depth=1,2",
    "--space",
    "lr=0.01..0.1",
    "--space",
    "augment=none,dsa",
)


def test_the_command(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    words = ["nas", str(built), *FEW, *SMALL, "--storage", str(tmp_path / "study.db"), "--top", "3"]
    assert main([*words, "--csv", str(tmp_path / "trials.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["1/4", "2/4", "3/4", "4/4"]
    assert lines[4].split()[0] == "accuracy"
    with (tmp_path / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert len(trials) == 4
    assert all(trial["width"] in ("4", "8") and float(trial["seconds"]) > 0 for trial in trials)
    again = [word.replace("4", "5") if word == "4" else word for word in words]
    assert main(again) == 0
    assert capsys.readouterr().out.startswith("5/5")
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[0] == "accuracy"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--space", "wide=1,2"), "Unknown name 'wide'. Known names: width"),
        (("--space", "width"), "NAME=VALUE"),
        (("--space", "lr=a..b"), "are not numbers"),
        (("--protocol", "longest"), "training='longest': Unknown protocol"),
        (("--val", "cli_sources:four_pixels"), "samples of shape"),
    ],
)
def test_invalid_options_are_refused(built: Path, words: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert message in fails(capsys, "nas", built, *FEW, *words)


def test_the_command_names_the_missing_package(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "pip install condensed-data[nas]" in fails(capsys, "nas", built, *FEW)
