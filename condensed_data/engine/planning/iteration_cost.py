"""Measures iterations of a recipe on a part of its source, and extrapolates to all of it.

What an iteration costs is close to a + K (b + c R) for K classes of R real samples each, so three measurements of one
step with few of both predict its floating-point operations. If the measured classes can be computed whole in seconds,
they are; otherwise the time is that of a smaller part, multiplied by the ratio of operations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from operator import attrgetter
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from condensed_data.data.real import RealData
from condensed_data.engine.loop import CondensationRun
from condensed_data.engine.memory_estimate import MemoryEstimate, estimate_memory
from condensed_data.engine.planning.pretraining_cost import is_pretrained, with_short_pretraining
from condensed_data.engine.planning.source_sample import first_samples
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import Pixels
from condensed_data.training.context import Context

# measure until one of these is reached
SECONDS, ITERATIONS = 5.0, 20
ROWS = 4  # real samples per class of the smallest measurement
Start = Callable[[RealData], Context]
Announce = Callable[[str], None]


@dataclass(frozen=True)
class IterationCost:
    """What one iteration costs with `classes` classes of up to `rows` real samples each.

    Attributes:
        checkpoint_bytes, result_bytes: sizes of a checkpoint and of the result.
    """

    classes: int
    rows: int
    seconds: float
    flop: float
    memory: MemoryEstimate
    checkpoint_bytes: float
    result_bytes: float


def estimate_iteration(recipe: Recipe, real: RealData, classes: int, start: Start, announce: Announce) -> IterationCost:
    """What one iteration of a resolved recipe costs with `classes` classes like those of `real`.

    Args:
        start: the context of a run on some of the samples.
        announce: called with what is measured next.
    """
    rows, few = max(map(len, real.members)), min(2, real.num_classes)

    def measure(classes: int, rows: int, seconds: float = SECONDS) -> IterationCost:
        announce(f"timing iterations with {classes} classes of {rows} real samples")
        return measure_iterations(recipe, start(first_samples(real, classes, rows)), seconds)

    low, high = min(rows, ROWS), min(rows, 2 * ROWS)
    probes = [
        measure(few, low, 0),
        measure(few, high, 0),
        measure(min(few + 1, real.num_classes), low, 0),
    ]
    speed = probes[1].flop / probes[1].seconds
    if not speed or _bilinear(probes, real.num_classes, rows, _flop) / speed < SECONDS / 2:
        half = min(max(2, real.num_classes // 2), real.num_classes)
        costs = [measure(count, rows) for count in sorted({half, real.num_classes})]
        return _scaled(costs[-1], classes, rows, lambda value: extrapolate(costs, classes, value))
    while high * 2 <= rows and _bilinear(probes, few, high * 2, _flop) / speed < SECONDS / 2:
        high *= 2
    timed = probes[1]
    if timed.rows < high or timed.seconds < SECONDS / 2:  # in a long iteration, what the first one adds is little
        timed = measure(few, high, SECONDS / 2)
    whole = _scaled(timed, classes, rows, lambda value: _bilinear(probes, classes, rows, value))
    whole = replace(whole, seconds=timed.seconds * whole.flop / timed.flop)
    if is_pretrained(recipe):  # starting a run on all these samples would train networks on them
        return whole
    runs = [CondensationRun(recipe, start(first_samples(real, count, rows))) for count in (few, real.num_classes)]
    costs = [_cost(run, 0.0, 0.0) for run in runs]
    memory = _scaled(costs[-1], classes, rows, lambda value: extrapolate(costs, classes, value)).memory
    return replace(whole, memory=memory)  # does not grow with the rows beyond a micro-batch


_flop = attrgetter("flop")


def measure_iterations(recipe: Recipe, context: Context, seconds: float = SECONDS) -> IterationCost:
    """Run up to `ITERATIONS` iterations within about `seconds`; 0 measures the first iteration, which also warms up."""
    run, started = CondensationRun(with_short_pretraining(recipe), context), time.perf_counter()
    with FlopCounterMode(display=False) as counter:
        float(run.step())
    total, iterations = (0.0, 0) if seconds else (time.perf_counter() - started, 1)
    while total <= seconds and seconds and iterations < ITERATIONS:
        started = time.perf_counter()
        float(run.step())
        total, iterations = total + time.perf_counter() - started, iterations + 1
    return _cost(run, total / iterations, float(counter.get_total_flops()))


def _cost(run: CondensationRun, seconds: float, flop: float) -> IterationCost:
    context, stored_values = run.context, run.synthetic_data.stored_floats
    if isinstance(run.recipe.synthetic, Pixels):
        stored_values = len(run.synthetic_data.labels) * prod(context.real.sample_shape)
    return IterationCost(
        context.real.num_classes,
        max(map(len, context.real.members)),
        seconds,
        flop,
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


def _bilinear(
    probes: Sequence[IterationCost], classes: int, rows: int, value: Callable[[IterationCost], float]
) -> float:
    """The value for K = `classes` and R = `rows`; the probes are one, one with more rows, and one with more classes."""
    base, wide, many = probes
    low = float(value(base))
    per_row = max(0.0, float(value(wide)) - low) / base.classes / max(1, wide.rows - base.rows)
    per_class = low / base.classes
    if many.classes > base.classes:
        per_class = max(0.0, float(value(many)) - low) / (many.classes - base.classes)
    return low + (classes - base.classes) * per_class + classes * per_row * (rows - base.rows)


def _scaled(
    cost: IterationCost, classes: int, rows: int, total: Callable[[Callable[[IterationCost], float]], float]
) -> IterationCost:
    """The cost with every value replaced by its `total`."""
    memory: dict[str, Any] = {
        name: round(total(attrgetter(f"memory.{name}"))) for name in ("learned", "batch", "activations")
    }
    values = {name: total(attrgetter(name)) for name in ("seconds", "flop", "checkpoint_bytes", "result_bytes")}
    return replace(cost, classes=classes, rows=rows, memory=replace(cost.memory, **memory), **values)
