"""Reads what a memory needs from the strategy or agent that owns it, and logs metrics there."""

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

BATCH_SIZE = 256


def device_of(strategy: Any, given: torch.device | None) -> torch.device:
    """The device to condense on: `given`, else that of the strategy, else the CPU."""
    found = getattr(strategy, "device", None)
    if given is not None:
        return given
    return torch.device(found) if isinstance(found, str | torch.device) else torch.device("cpu")


def starts_task(exp: Any, condense_on: str | int) -> bool:
    """Whether an experience is the first of a task, so that staged samples belong to the task before.

    Avalanche does not mark the last part of a task that its parts divide evenly; only the first part of the next task
    shows that it ended.
    """
    return condense_on == "task_boundary" and isinstance(exp, OnlineCLExperience) and bool(exp.is_first_subexp)


def ends_task(exp: Any, condense_on: str | int) -> bool:
    """Whether an experience is marked as the last of a task; True unless `condense_on` is "task_boundary".

    Raises:
        ValueError: for an online stream that does not give access to task boundaries.
    """
    if condense_on != "task_boundary" or not isinstance(exp, OnlineCLExperience):
        return True
    if not exp.access_task_boundaries:
        raise ValueError(
            "condense_on='task_boundary' needs access to task boundaries. Use split_online_stream(..., "
            "access_task_boundaries=True), or condense_on=N for N staged samples."
        )
    return bool(exp.is_last_subexp)


def check_class_sizes(strategy: Any, per_class: Mapping[int, int]) -> None:
    """Reject sizes of classes with which a strategy would loop forever.

    ER_AML draws batches of `train_mb_size` from each single class and retries until one is full.

    Raises:
        ValueError: for an ER_AML strategy with larger batches than the smallest class.
    """
    if not isinstance(strategy, ER_AML) or strategy.experience.current_experience == 0:
        return  # it does not replay in the first experience
    label, fewest = min(per_class.items(), key=lambda item: item[1])
    if sum(per_class.values()) >= strategy.batch_size_mem and fewest < strategy.train_mb_size:
        raise ValueError(
            f"ER_AML draws train_mb_size={strategy.train_mb_size} samples of every class, but the memory keeps only "
            f"{fewest} of class {label}. Use train_mb_size={max(1, fewest)} or less, or a larger memory."
        )


def model_logits(strategy: Any, samples: Tensor, task: int) -> Tensor:
    """Logits (n, K) float16 of the strategy's model in evaluation mode; the model and its modes stay unchanged.

    Raises:
        ValueError: for a strategy without a model.
    """
    model = getattr(strategy, "model", None)
    if not isinstance(model, nn.Module):
        raise ValueError(
            "CondensedBuffer(logits=True) needs the model of a strategy. Call update(strategy) with one that has it."
        )
    modes = [(module, module.training) for module in model.modules()]
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    try:
        model.eval()
        with torch.no_grad(), preserve_rng_state():
            logits = [
                avalanche_forward(model, rows.to(device), torch.full((len(rows),), task, device=device)).cpu()
                for rows in samples.split(BATCH_SIZE)
            ]
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(logits).to(torch.float16)


def log_metrics(strategy: Any, seconds: float, memory_bytes: int, per_class: Mapping[int, int]) -> None:
    """Log time and size with the strategy's loggers, if it has any."""
    evaluator = getattr(strategy, "evaluator", None)
    if not isinstance(evaluator, EvaluationPlugin):
        return
    step = strategy.clock.train_iterations
    values = {
        "condensing_seconds": seconds,
        "bytes": float(memory_bytes),
        "samples": float(sum(per_class.values())),
        "samples_per_class": sum(per_class.values()) / max(1, len(per_class)),
    }
    for name, value in values.items():
        evaluator.publish_metric_value(MetricValue("CondensedBuffer", f"Memory/{name}", value, step))
