"""The search loops of others: Optuna's trials and Ray Tune's trainables. Each is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from condensed_data_nas import space as spaces
from condensed_data_nas.space import Range, ValueSpace

if TYPE_CHECKING:
    from condensed_data_nas.objective import ProxyObjective


def of_optuna(objective: ProxyObjective, trial: Any) -> float:
    """One Optuna trial, see `ProxyObjective.__call__`."""
    import optuna

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(f"pruned after {epoch} epochs at {100 * value:.1f} %")

    try:
        config = _suggested(objective, trial)
    except (ValueError, RuntimeError) as error:  # what build_model built, to suggest, cannot be built
        trial.set_user_attr("error", f"{type(error).__name__}: {error}")
        raise optuna.TrialPruned(str(error)) from error
    found = objective.measure(config, report, trial if objective.space is None else None)
    for name, fact in found.facts.items():
        trial.set_user_attr(name, fact)
    if found.failed:
        raise optuna.TrialPruned(found.error)
    trial.set_user_attr("accuracies", list(found.values))
    return found.value


def _suggested(objective: ProxyObjective, trial: Any) -> dict[str, Any]:
    """The configuration of a trial; without a space it is what `build_model` asks the trial for."""
    if objective.space is not None:
        return spaces.suggest(trial, objective.space)
    objective.build_model(trial)
    return dict(trial.params)


def of_ray(objective: ProxyObjective) -> Callable[[dict[str, Any]], None]:
    """A trainable of Ray Tune, see `ProxyObjective.trainable`; the samples are in the object store once."""
    from ray import tune

    return tune.with_parameters(_trainable, objective=objective)


def _trainable(config: dict[str, Any], objective: ProxyObjective) -> None:
    from ray import tune

    def report(epoch: int, value: float) -> None:
        tune.report({"accuracy": value, "epoch": epoch})

    found = objective.measure(config, report)
    last = found.curve[-1][0] if found.curve else 0
    tune.report({"accuracy": found.value, "epoch": last, **found.facts})


def ray_space(space: ValueSpace) -> dict[str, Any]:
    """A space in Ray Tune's words."""
    from ray import tune

    def domain(choices: Range | Sequence[Any]) -> Any:
        if not isinstance(choices, Range):
            return tune.choice(list(choices))
        if choices.whole:  # Ray leaves out the upper bound of whole numbers
            return (tune.lograndint if choices.log else tune.randint)(int(choices.low), int(choices.high) + 1)
        return (tune.loguniform if choices.log else tune.uniform)(choices.low, choices.high)

    return {name: domain(choices) for name, choices in space.items()}
