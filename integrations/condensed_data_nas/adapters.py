"""Runs an objective as Optuna trials or Ray Tune trainables; each library is imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from condensed_data_nas.space import Config, Range, ValueSpace
from condensed_data_nas.trial import Reporter
from condensed_data_nas.trial_result import Result

Measure = Callable[[Config, Reporter], Result]


def run_optuna_trial(trial: Any, suggest: Callable[[Any], Config], measure: Measure) -> float:
    """Run one Optuna trial, see `ProxyObjective.__call__`; it gets costs and accuracies as user attributes."""
    import optuna

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned(f"pruned after {epoch} epochs at {100 * value:.1f} %")

    try:
        config = suggest(trial)
    except (ValueError, RuntimeError) as error:  # of a build_model that builds while it suggests
        trial.set_user_attr("error", f"{type(error).__name__}: {error}")
        raise optuna.TrialPruned(str(error)) from error
    result = measure(config, report)
    for name, value in result.metrics.items():
        trial.set_user_attr(name, value)
    if result.failed:
        raise optuna.TrialPruned(result.error)
    trial.set_user_attr("accuracies", list(result.values))
    return result.value


def ray_trainable(measure: Measure) -> Callable[[dict[str, Any]], None]:
    """A trainable for Ray Tune, see `ProxyObjective.trainable`; samples are put into the object store once."""
    from ray import tune

    return tune.with_parameters(_trainable, measure=measure)


def _trainable(config: dict[str, Any], measure: Measure) -> None:
    from ray import tune

    def report(epoch: int, value: float) -> None:
        tune.report({"accuracy": value, "epoch": epoch})

    result = measure(config, report)
    last = result.curve[-1][0] if result.curve else 0
    tune.report({"accuracy": result.value, "epoch": last, **result.metrics})


def ray_space(space: ValueSpace) -> dict[str, Any]:
    """A space as Ray Tune's search space."""
    from ray import tune

    def domain(choices: Range | Sequence[Any]) -> Any:
        if not isinstance(choices, Range):
            return tune.choice(list(choices))
        if choices.is_integer:  # Ray excludes the upper bound of integers
            return (tune.lograndint if choices.log else tune.randint)(int(choices.low), int(choices.high) + 1)
        return (tune.loguniform if choices.log else tune.uniform)(choices.low, choices.high)

    return {name: domain(choices) for name, choices in space.items()}
