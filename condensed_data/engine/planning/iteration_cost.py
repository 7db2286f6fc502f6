"""Measures iterations of a recipe with some of the classes, and extrapolates to all of them.

Letters: K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from condensed_data.engine.loop import CondensationRun
from condensed_data.engine.memory_estimate import MemoryEstimate, estimate_memory
from condensed_data.engine.planning.pretraining_cost import with_short_pretraining
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import Pixels
from condensed_data.training.context import Context

# measure until one of these is reached
SECONDS, ITERATIONS = 5.0, 20


@dataclass(frozen=True)
class IterationCost:
    """What one iteration costs with some of the classes; bytes are those of a checkpoint and of the result."""

    classes: int
    seconds: float
    flop: float
    memory: MemoryEstimate
    checkpoint_bytes: int
    result_bytes: int


def measure_iterations(recipe: Recipe, context: Context) -> IterationCost:
    """Run up to `ITERATIONS` iterations within about `SECONDS`."""
    run = CondensationRun(with_short_pretraining(recipe), context)
    with FlopCounterMode(display=False) as counter:
        float(run.step())  # the first iteration also warms up
    seconds, iterations = 0.0, 0
    while seconds <= SECONDS and iterations < ITERATIONS:
        started = time.perf_counter()
        float(run.step())
        seconds, iterations = seconds + time.perf_counter() - started, iterations + 1
    stored_values = run.synthetic_data.stored_floats
    if isinstance(recipe.synthetic, Pixels):
        stored_values = len(run.synthetic_data.labels) * prod(context.real.sample_shape)
    return IterationCost(
        context.real.num_classes,
        seconds / iterations,
        float(counter.get_total_flops()),
        estimate_memory(run.parts, context, run.plan.largest_block),
        sum(tensor.numel() * tensor.element_size() for tensor in _tensors(run.state_dict())),
        4 * stored_values,
    )


def _tensors(state: Any) -> Iterator[Tensor]:
    """All tensors in nested containers."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict | list | tuple):
        for item in state.values() if isinstance(state, dict) else state:
            yield from _tensors(item)


def extrapolate(costs: Sequence[IterationCost], classes: int, value: Callable[[IterationCost], float]) -> float:
    """A value for K = `classes`, on the line through those of the first and the last cost.

    A falling line, which only noise can cause, is replaced by a constant one; a single point by a proportional line.
    """
    first, last = costs[0], costs[-1]
    top = float(value(last))
    if first.classes == last.classes:
        return top * classes / last.classes
    slope = max(0.0, (top - float(value(first))) / (last.classes - first.classes))
    return top + slope * (classes - last.classes)
