"""What a memory asks of whoever holds it: a strategy, an agent, or a stand-in with an experience alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from avalanche.benchmarks.scenarios.online import OnlineCLExperience
from avalanche.evaluation.metric_results import MetricValue
from avalanche.models.utils import avalanche_forward
from avalanche.training.plugins.evaluation import EvaluationPlugin
from avalanche.training.supervised.er_aml import ER_AML
from torch import Tensor, nn

from condensed_data.core.rng import preserve_rng_state

ROWS = 256


def device_of(agent: Any, given: torch.device | None) -> torch.device:
    """Where to condense: as given, else where the agent computes, else on the CPU."""
    found = getattr(agent, "device", None)
    if given is not None:
        return given
    return torch.device(found) if isinstance(found, str | torch.device) else torch.device("cpu")


def starts_task(exp: Any, condense_on: str | int) -> bool:
    """Whether an experience is the first of a task, so that what is staged is of another.

    Avalanche does not mark the last part of a task that its parts divide evenly; the first of the next one tells.
    """
    return (
        condense_on == "task_boundary" and isinstance(exp, OnlineCLExperience) and bool(exp.is_first_subexp)
    )


def at_boundary(exp: Any, condense_on: str | int) -> bool:
    """Whether an experience ends a task, as far as the stream lets one know.

    Raises:
        ValueError: for an online stream that hides what `condense_on="task_boundary"` asks for.
    """
    if condense_on != "task_boundary" or not isinstance(exp, OnlineCLExperience):
        return True
    if not exp.access_task_boundaries:
        raise ValueError(
            "condense_on='task_boundary' needs to see boundaries: split_online_stream(..., "
            "access_task_boundaries=True). Use condense_on=N for N staged samples."
        )
    return bool(exp.is_last_subexp)


def check_shares(agent: Any, per_class: Mapping[int, int]) -> None:
    """Refuse shares of classes with which a host would wait for ever.

    ER_AML draws a whole batch of `train_mb_size` from every class alone, again and again until there is one.

    Raises:
        ValueError: for such a host.
    """
    if not isinstance(agent, ER_AML) or agent.experience.current_experience == 0:
        return  # it does not replay in the first experience
    label, fewest = min(per_class.items(), key=lambda item: item[1])
    if sum(per_class.values()) >= agent.batch_size_mem and fewest < agent.train_mb_size:
        raise ValueError(
            f"ER_AML draws train_mb_size={agent.train_mb_size} samples of every class, and {fewest} of class {label} "
            f"are kept. Use train_mb_size={max(1, fewest)} or less, or a larger memory."
        )


def logits_of(agent: Any, samples: Tensor, task: int) -> Tensor:
    """Logits (n, K) float16 of the agent's model, which is left as it was.

    Raises:
        ValueError: for an agent without a model.
    """
    model = getattr(agent, "model", None)
    if not isinstance(model, nn.Module):
        raise ValueError("CondensedBuffer(logits=True) needs a strategy with a model: update(strategy).")
    modes = [(module, module.training) for module in model.modules()]
    where = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    try:
        model.eval()
        with torch.no_grad(), preserve_rng_state():
            found = [
                avalanche_forward(model, rows.to(where), torch.full((len(rows),), task, device=where)).cpu()
                for rows in samples.split(ROWS)
            ]
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(found).to(torch.float16)


def log_metrics(agent: Any, seconds: float, memory_bytes: int, per_class: Mapping[int, int]) -> None:
    """Hand time and size to the loggers of a strategy; a stand-in has none."""
    evaluator = getattr(agent, "evaluator", None)
    if not isinstance(evaluator, EvaluationPlugin):
        return
    step = agent.clock.train_iterations
    values = {
        "seconds_of_condensing": seconds,
        "bytes": float(memory_bytes),
        "samples": float(sum(per_class.values())),
        "samples_per_class": sum(per_class.values()) / max(1, len(per_class)),
    }
    for name, value in values.items():
        evaluator.publish_metric_value(MetricValue("CondensedBuffer", f"Memory/{name}", value, step))
