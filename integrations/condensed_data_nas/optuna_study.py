"""Searches with Optuna that continue after being killed, with a live table and a CSV file.

Letters: T trials.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from condensed_data.core import spec as specs
from condensed_data.core.rng import RandomStreams
from condensed_data.core.torch_settings import own_settings
from condensed_data_nas.report import write_csv

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from condensed_data_nas.objective import ProxyObjective

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler"}  # in optuna.samplers
WORKER = "worker"  # attribute of a trial: the host and process that run it


@own_settings()
def search(
    objective: ProxyObjective,
    trials: int,
    *,
    storage: str | Path | None = None,
    name: str = "nas",
    sampler: str = "tpe",
    callbacks: Sequence[Callable[[Study, FrozenTrial], None]] = (),
) -> Study:
    """Search with Optuna and median pruning until the study has this many finished trials.

    A study in a file continues where it stopped, and several processes may share it; the configurations of killed
    processes of this machine are tried again first.

    Args:
        objective: with a space, or a `build_model` that suggests for itself.
        trials: T, including those that the study already has.
        storage: a file for the study (SQLite), or the URL of an Optuna storage; by default it is kept in memory.
        name: of the study in the storage.
        sampler: "tpe" or "random".
        callbacks: called with the study and each finished trial.

    Raises:
        ImportError: without Optuna.
        ValueError: for an unknown sampler.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError("search needs Optuna: pip install condensed-data[nas]") from error
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler={sampler!r} is unknown. Known: {', '.join(SAMPLERS)}.")
    training = specs.resolve(objective.training, objective.task.info)
    epochs = training.started_epochs(len(objective.task.images))
    study = optuna.create_study(
        storage=_url(storage),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        # no pruning in the first tenth: a single early report is too noisy
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=epochs // 10),
    )
    _retry_killed(study)
    # without the number of trials, a continued study would repeat its first suggestions
    seed = RandomStreams(objective.seed).seed_for("sampler", len(study.trials)) % 2**32
    study.sampler = getattr(optuna.samplers, SAMPLERS[sampler])(seed=seed)

    def run(trial: Trial) -> float:
        trial.set_user_attr(WORKER, f"{socket.gethostname()}:{os.getpid()}")
        return objective(trial)

    if finished(study) < trials:
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        limit = optuna.study.MaxTrialsCallback(trials, states=states)
        study.optimize(run, callbacks=[*callbacks, limit])
    return study


def finished(study: Study) -> int:
    """Number of completed and pruned trials; those of a killed process do not count."""
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.get_trials(deepcopy=False))


def _url(storage: str | Path | None) -> str | None:
    """The storage as a URL; makes the folder of a file."""
    if storage is None:
        return None
    if "://" in str(storage):
        return str(storage)
    path = Path(storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


def _retry_killed(study: Study) -> None:
    """Mark the trials of killed processes as failed, and put their configurations first in the queue.

    Optuna's own heartbeat finds such a trial only after a grace period, which a search that is started again at once
    would not wait for.
    """
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = str(trial.user_attrs.get(WORKER, "")).rpartition(":")
        if host != socket.gethostname() or _alive(int(process)):
            continue
        with contextlib.suppress(ValueError):  # another process did it first
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs as another user
        return True
    return process != os.getpid()  # our own id: reused after a restart of the machine


class LiveTable:
    """Prints the best trials after each of `total`: on a terminal a table of `top` rows, elsewhere one line a trial."""

    def __init__(self, total: int, top: int = 10, stream: IO[str] | None = None) -> None:
        self.total, self.top, self.stream = total, top, stream or sys.stdout
        self.lines_drawn = 0

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Show a finished trial."""
        done = f"{finished(study)}/{self.total}"
        if not self.stream.isatty():
            print(f"{done}  {trial_line(trial)}", file=self.stream, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1  # a line that wraps would count as two when going up
        lines = [text[:width] for text in (f"{done}  last: {trial_line(trial)}", *best_trials(study, self.top))]
        up = f"\x1b[{self.lines_drawn}A" if self.lines_drawn else ""
        print(up + "".join(f"\x1b[2K{text}\n" for text in lines), end="", file=self.stream, flush=True)
        self.lines_drawn = len(lines)


def trial_line(trial: FrozenTrial) -> str:
    """One line with the accuracy, costs and configuration of a trial."""
    attributes = trial.user_attrs
    state = f"{100 * trial.value:5.1f} %" if trial.state.name == "COMPLETE" and trial.value else "pruned "
    cost = f"{attributes['seconds']:7.3g} s" if "seconds" in attributes else " " * 9
    size = f"{attributes['parameters']:>11,}" if "parameters" in attributes else " " * 11
    reason = f"  ({attributes['error']})" if "error" in attributes else ""
    short = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in trial.params.items()}
    values = " ".join(f"{name}={value}" for name, value in short.items())
    return f"{state}  {cost}  {size}  {values}{reason}"


def to_csv(study: Study, path: Path) -> Path:
    """Write one line per trial: number, state, value, configuration and costs."""
    trials = study.get_trials(deepcopy=False)
    names = sorted({name for trial in trials for name in trial.params})
    costs = ("seconds", "parameters", "flops", "peak_bytes", "error")
    rows: list[list[Any]] = [["number", "state", "value", *names, *costs]]
    for trial in trials:
        values = [trial.params.get(name, "") for name in names]
        spent = [trial.user_attrs.get(name, "") for name in costs]
        rows.append([trial.number, trial.state.name.lower(), trial.value, *values, *spent])
    return write_csv(path, rows)


def best_trials(study: Study, top: int) -> list[str]:
    """A table of the best trials, best first."""
    completed = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    best = sorted(completed, key=lambda trial: -(trial.value or 0.0))[:top]
    return [f"{'accuracy':>7}  {'time':>9}  {'parameters':>11}  configuration", *map(trial_line, best)]
