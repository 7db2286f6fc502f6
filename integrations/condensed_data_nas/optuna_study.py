"""A search by Optuna that goes on where it was killed, told as it runs.

Letters: T trials.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from condensed_data.core.atomic import write_whole
from condensed_data.core.rng import RandomStreams

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from condensed_data_nas.objective import ProxyObjective

SAMPLERS = ("tpe", "random")
WORKER = "worker"  # attribute of a trial: who runs it


def search(
    objective: ProxyObjective,
    trials: int,
    *,
    storage: str | Path | None = None,
    name: str = "nas",
    sampler: str = "tpe",
    callbacks: Sequence[Callable[[Study, FrozenTrial], None]] = (),
) -> Study:
    """Search with Optuna, with median pruning, until the study has so many finished trials.

    A study in a file goes on where it stopped, and several processes may share it; what a killed process of this
    machine was trying is tried again.

    Args:
        objective: with a space, or a `build_model` that suggests for itself.
        trials: T, with those that the study has already.
        storage: a file for the study (sqlite), or any URL of Optuna's storages; by default it is kept in memory.
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
        raise ImportError("Searching needs Optuna: pip install condensed-data[nas]") from error
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler={sampler!r} is unknown. Known: {', '.join(SAMPLERS)}.")
    study = optuna.create_study(
        storage=_url(storage),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=_warm_up(objective)),
    )
    _try_again(study)
    # a study that goes on would otherwise repeat its first suggestions
    seed = RandomStreams(objective.seed).seed_for("sampler", len(study.trials)) % 2**32
    kinds: dict[str, Callable[..., Any]] = {
        "tpe": optuna.samplers.TPESampler,
        "random": optuna.samplers.RandomSampler,
    }
    study.sampler = kinds[sampler](seed=seed)

    def one(trial: Trial) -> float:
        trial.set_user_attr(WORKER, _worker())
        return objective(trial)

    while finished(study) < trials:
        study.optimize(one, n_trials=1, callbacks=list(callbacks))
    return study


def finished(study: Study) -> int:
    """Trials that were completed or pruned; those of a killed process are not."""
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in study.get_trials(deepcopy=False))


def _warm_up(objective: ProxyObjective) -> int:
    """Epochs without pruning: a tenth, as one of few reports says little."""
    return objective.training.started_epochs(len(objective.task.images)) // 10


def _url(storage: str | Path | None) -> str | None:
    """What Optuna takes as a storage."""
    if storage is None or "://" in str(storage):
        return None if storage is None else str(storage)
    path = Path(storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


def _worker() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _try_again(study: Study) -> None:
    """Give up the trials of processes that are gone, and put their configurations first in the queue."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = str(trial.user_attrs.get(WORKER, "")).rpartition(":")
        if host != socket.gethostname() or _alive(int(process)):
            continue
        with contextlib.suppress(ValueError):  # another process was faster
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user, but there
        return True
    return process != os.getpid()  # a number that was ours before a restart


class LiveTable:
    """A table of the best trials, drawn anew after each on a terminal; a line a trial elsewhere.

    Args:
        total: trials in all.
        top: rows of the table.
        stream: where to write.
    """

    def __init__(self, total: int, top: int = 10, stream: IO[str] | None = None) -> None:
        self.total, self.top, self.stream = total, top, stream or sys.stdout
        self.drawn = 0

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """After a trial."""
        done = f"{finished(study)}/{self.total}"
        if not self.stream.isatty():
            self.stream.write(f"{done}  {line(trial)}\n")
            self.stream.flush()
            return
        most = shutil.get_terminal_size().columns - 1  # a line that wraps would be two to go up
        lines = [text[:most] for text in (f"{done}  last: {line(trial)}", *rows(study, self.top))]
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        self.stream.write(up + "".join(f"\x1b[2K{text}\n" for text in lines))
        self.stream.flush()
        self.drawn = len(lines)


def line(trial: FrozenTrial) -> str:
    """A trial in one line."""
    facts = trial.user_attrs
    state = f"{100 * trial.value:5.1f} %" if trial.state.name == "COMPLETE" and trial.value else "pruned "
    cost = f"{facts['seconds']:7.3g} s" if "seconds" in facts else " " * 9
    size = f"{facts['parameters']:>11,}" if "parameters" in facts else " " * 11
    reason = f"  ({facts['error']})" if "error" in facts else ""
    chosen = " ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
    return f"{state}  {cost}  {size}  {chosen}{reason}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def to_csv(study: Study, path: Path) -> Path:
    """Write one line a trial: number, state, value, what was chosen, and what it cost."""
    trials = study.get_trials(deepcopy=False)
    names = sorted({name for trial in trials for name in trial.params})
    facts = ("seconds", "parameters", "flops", "peak_bytes", "error")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "value", *names, *facts])
    for trial in trials:
        chosen = [trial.params.get(name, "") for name in names]
        told = [trial.user_attrs.get(name, "") for name in facts]
        writer.writerow([trial.number, trial.state.name.lower(), trial.value, *chosen, *told])
    return write_whole(path, text.getvalue().encode())


def rows(study: Study, top: int) -> list[str]:
    """The best trials, best first."""
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    best = sorted(done, key=lambda trial: -(trial.value or 0.0))[:top]
    return [f"{'accuracy':>7}  {'time':>9}  {'parameters':>11}  configuration", *map(line, best)]
