from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest
from tqdm.auto import tqdm

from condensed_data.engine.callbacks.bar import ProgressBar, TrainingBar
from condensed_data.engine.callbacks.loggers import History
from condensed_data.engine.callbacks.progress import Callback, Callbacks, Progress
from condensed_data.engine.pace import Pace

ITERATION = Progress(
    iteration=1,
    iterations=10,
    loss=2.5,
    seconds=0.5,
    iterations_per_second=2.0,
    eta_seconds=4.5,
    recipe="dm",
    resumed_at=0,
)


class Recorder(Callback):
    def __init__(self, calls: list[object], name: str) -> None:
        self.calls, self.name = calls, name

    def on_start(self, progress: Progress) -> None:
        self.calls.append((self.name, "start", progress.iteration))

    def on_iteration(self, progress: Progress) -> None:
        self.calls.append((self.name, "iteration", progress.iteration))

    def on_end(self, progress: Progress) -> None:
        self.calls.append((self.name, "end", progress.iteration))


class Failing(Callback):
    def on_iteration(self, progress: Progress) -> None:
        raise ZeroDivisionError("from the user's callback")


def test_all_callbacks_are_called_in_order() -> None:
    calls: list[object] = []
    both = Callbacks([Recorder(calls, "a"), Callback(), Recorder(calls, "b")])
    both.on_start(replace(ITERATION, iteration=0))
    both.on_iteration(ITERATION)
    both.on_end(ITERATION)
    assert calls[:2] == [("a", "start", 0), ("b", "start", 0)]
    assert calls[2:] == [(name, event, 1) for event in ("iteration", "end") for name in ("a", "b")]


def test_the_time_left_does_not_count_the_first_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    pace = Pace(first=10, iterations=110, recipe="dm", every_iteration=True)
    assert (pace.start().iteration, pace.start().eta_seconds) == (10, math.inf)
    now[0] = 80.0  # compiling
    first = pace.progress(11, 1.0)
    assert (first.eta_seconds, first.iterations_per_second, first.seconds) == (math.inf, 0.0, 80.0)
    now[0] = 81.0
    assert (pace.progress(12, 1.0).eta_seconds, pace.progress(110, 1.0).eta_seconds) == (98.0, 0.0)
    assert Pace(0, 1, "dm", True).progress(1, 1.0).eta_seconds == 0


def test_the_bar_is_there_before_the_first_iteration(capsys) -> None:
    bar = ProgressBar()
    bar.on_start(replace(ITERATION, iteration=0))
    assert "0/10, first iteration, which also compiles" in capsys.readouterr().err
    bar.on_iteration(replace(ITERATION, iterations_per_second=0.0, eta_seconds=math.inf, seconds=80.0))
    assert "1/10, loss 2.5, 80.0 s for the first iteration" in capsys.readouterr().err
    bar.on_end(ITERATION)


def test_the_bar_of_training_is_there_before_the_first_step(capsys) -> None:
    bar = TrainingBar()
    bar(0, 4000)
    assert "training networks on real samples:   0%" in capsys.readouterr().err
    bar(4000, 4000)


def test_an_exception_of_a_callback_reaches_the_user() -> None:
    calls: list[object] = []
    with pytest.raises(ZeroDivisionError, match="from the user"):
        Callbacks([Failing(), Recorder(calls, "after")]).on_iteration(ITERATION)
    assert calls == []


@pytest.mark.parametrize("wrong", [print, History, "tensorboard"])
def test_an_object_of_another_class_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"callbacks\[1\]=.* is not a Callback"):
        Callbacks([Callback(), wrong])  # type: ignore[list-item]


def test_history_collects_losses() -> None:
    history = History()
    history.on_iteration(ITERATION)
    history.on_iteration(replace(ITERATION, iteration=4, loss=1.5))
    history.on_end(replace(ITERATION, iteration=4, loss=1.5))
    assert (history.iterations, history.losses) == ([1, 4], [2.5, 1.5])
    assert history.rows[0] == {
        "iteration": 1,
        "recipe": "dm",
        "iterations": 10,
        "loss": 2.5,
        "seconds": 0.5,
        "iterations_per_second": 2.0,
    }


def test_history_gets_the_last_iteration_from_the_end() -> None:
    history = History()
    history.on_iteration(ITERATION)
    history.on_end(replace(ITERATION, iteration=10, loss=0.5))
    assert (history.iterations, history.losses) == ([1, 10], [2.5, 0.5])


def test_the_bar_shows_recipe_loss_speed_and_time_left(capsys) -> None:
    bar = ProgressBar()
    bar.on_iteration(ITERATION)
    bar.on_iteration(replace(ITERATION, iteration=5, loss=0.125, iterations_per_second=0.25, eta_seconds=3725.0))
    bar.on_end(replace(ITERATION, iteration=10, loss=0.0625, eta_seconds=0.0))
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.split("\r")[-1]
    assert "dm: condensing 100%" in last
    assert "10/10, loss 0.0625, 2.0 iterations/s, ETA 00:00" in last


def test_slow_iterations_are_counted_in_seconds(capsys) -> None:
    bar = ProgressBar()
    bar.on_iteration(replace(ITERATION, iterations_per_second=0.25, eta_seconds=3725.0))
    bar.on_end(replace(ITERATION, iterations_per_second=0.25, eta_seconds=math.inf))
    shown = capsys.readouterr().err
    assert "4.0 s/iteration, ETA 1:02:05" in shown
    assert "ETA ?" in shown


def test_the_bar_of_a_resumed_run_starts_where_it_resumes(monkeypatch) -> None:
    opened = []
    original = tqdm.__init__
    monkeypatch.setattr(tqdm, "__init__", lambda *args, **kw: (opened.append(kw), original(*args, **kw))[1])
    bar = ProgressBar()
    bar.on_iteration(replace(ITERATION, iteration=7, resumed_at=6))
    bar.on_end(replace(ITERATION, iteration=7, resumed_at=6))
    assert opened[0]["initial"] == 6


def test_one_bar_can_show_two_runs_and_a_run_without_iterations_shows_none(capsys) -> None:
    bar = ProgressBar()
    bar.on_end(replace(ITERATION, iteration=0, iterations=0))
    assert capsys.readouterr().err == ""
    for recipe in ("dm", "dc"):
        bar.on_iteration(replace(ITERATION, recipe=recipe))
        bar.on_end(replace(ITERATION, recipe=recipe, iteration=10))
    shown = capsys.readouterr().err
    assert "dm: condensing 100%" in shown
    assert "dc: condensing 100%" in shown


def test_callbacks_do_not_need_torch() -> None:
    import subprocess

    code = "import sys; from condensed_data import History, ProgressBar; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
