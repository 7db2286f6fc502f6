"""Estimates what a build would take by running a few iterations on a few classes.

Time, memory, disk space and operations of an iteration grow linearly with the number of classes, so two measurements
with different numbers of classes predict those of all.

Letters: n real samples, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from condensed_data import networks
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.spec import require_resolved
from condensed_data.data.real import RealData
from condensed_data.data.sample_store import available_memory
from condensed_data.data.source import Source
from condensed_data.engine.loop import CondensationRun
from condensed_data.engine.memory_estimate import MemoryEstimate, estimate_memory, free_memory
from condensed_data.engine.planning.source_sample import first_classes, read_classes, read_labels
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import Pixels
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining, job_of, train

MEASURED_CLASSES = 4
# for each number of classes, measure until one of these is reached
SECONDS, ITERATIONS = 5.0, 20


@dataclass(frozen=True)
class Plan:
    """What a build would take; totals of the whole build unless stated otherwise.

    Attributes:
        name: name of the source.
        recipe: name of the recipe.
        samples: number of real samples.
        classes: number of classes; only those seen so far if `all_labels_read` is False.
        all_labels_read: whether the labels of all samples are known.
        iterations: number of iterations.
        reading_seconds: time to read the source with one process.
        pretraining_seconds: time to train networks on the real samples beforehand.
        iteration_seconds: time of one iteration.
        iteration_flop: floating-point operations of one iteration.
        memory: bytes of memory.
        free_memory: bytes that are free on the device.
        separable: whether gradients can be accumulated in chunks if a step does not fit.
        checkpoint_bytes, network_bytes, result_bytes: disk space of a checkpoint, of the networks trained beforehand,
            and of the result.
        device: where it was measured.
    """

    name: str
    recipe: str
    samples: int
    classes: int
    all_labels_read: bool
    iterations: int
    reading_seconds: float
    pretraining_seconds: float
    iteration_seconds: float
    iteration_flop: float
    memory: MemoryEstimate
    free_memory: int
    separable: bool
    checkpoint_bytes: int
    network_bytes: int
    result_bytes: int
    device: str

    @property
    def seconds(self) -> float:
        """Time of the whole build."""
        return self.reading_seconds + self.pretraining_seconds + self.iterations * self.iteration_seconds


@dataclass(frozen=True)
class _Measurement:
    """Costs of one iteration with some of the classes."""

    classes: int
    seconds: float
    flop: float
    memory: MemoryEstimate
    checkpoint_bytes: int
    result_bytes: int


def plan(source: Source, recipe: Recipe, device: torch.device, precision: str, seed: int = 0) -> Plan:
    """Measure what `recipe` would take on `source`, of which only a few classes are read.

    Networks run eagerly, although a long build may compile them. Whitening and initializations that examine all real
    samples, such as herding, are not included.

    Raises:
        SourceError: for a source that cannot be condensed.
        ValueError: for a recipe that learns nothing, or does not fit the source.
    """
    if not recipe.terms:
        raise ValueError(
            f"Recipe {recipe.name} learns nothing, so there is nothing to plan. Build it directly."
        )
    labels, all_read = read_labels(source)
    values, counts = labels.unique(return_counts=True)
    names = _class_names(source, len(values), all_read)
    resolved = recipe.resolve(source.kind.shape, names, samples=len(source))

    def start(real: RealData) -> Context:
        rng = RandomStreams(seed)
        return Context(real.to(device), resolved.ipc, rng, device, precision, compiles=False)

    with preserve_rng_state():
        largest = values[counts.argsort(descending=True)][:MEASURED_CLASSES]
        real, sample_seconds = read_classes(source, labels, largest, resolved, all_read)
        points = _measure_twice(resolved, real, start)
        pretraining_seconds, network_bytes = _pretraining_costs(resolved, start(real), len(source))

    def total(value: Callable[[_Measurement], float]) -> float:
        return _extrapolate(points, len(names), value)

    return Plan(
        name=source.name,
        recipe=resolved.name,
        samples=len(source),
        classes=len(names),
        all_labels_read=all_read,
        iterations=require_resolved(resolved.iterations),
        reading_seconds=sample_seconds * len(source),
        pretraining_seconds=pretraining_seconds,
        iteration_seconds=total(lambda point: point.seconds),
        iteration_flop=total(lambda point: point.flop),
        memory=_total_memory(points, len(names), real.store.bytes // len(real) * len(source)),
        free_memory=free_memory(device),
        separable=all(term.objective.separable for term in resolved.terms),
        checkpoint_bytes=round(total(lambda point: point.checkpoint_bytes)),
        network_bytes=network_bytes,
        result_bytes=round(total(lambda point: point.result_bytes)),
        device=_device_name(device),
    )


def _class_names(source: Source, seen: int, all_read: bool) -> list[str]:
    """One name per class; empty strings unless the source names all of them."""
    known = source.class_names or ()
    classes = seen if all_read else max(seen, len(known))
    names = list(known[:classes])
    return names if len(names) == classes and all(names) else [""] * classes


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'' if threads == 1 else 's'}"


def _measure_twice(
    recipe: Recipe, real: RealData, start: Callable[[RealData], Context]
) -> list[_Measurement]:
    """Measure with about half of the classes that were read, and with all of them."""
    half = min(max(2, real.num_classes // 2), real.num_classes)
    return [_measure(recipe, start(first_classes(real, count))) for count in sorted({half, real.num_classes})]


def _measure(recipe: Recipe, context: Context) -> _Measurement:
    """Run up to `ITERATIONS` iterations within about `SECONDS`."""
    run = CondensationRun(_with_short_pretraining(recipe), context)
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
    return _Measurement(
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


def _total_memory(points: Sequence[_Measurement], classes: int, samples: int) -> MemoryEstimate:
    """The memory estimate for all classes; `samples` are the bytes of the whole source."""

    def total(name: str) -> int:
        return round(_extrapolate(points, classes, lambda point: getattr(point.memory, name)))

    return replace(
        points[-1].memory,
        samples=samples,
        on_disk=samples > available_memory() // 2,
        learned=total("learned"),
        batch=total("batch"),
        activations=total("activations"),
    )


def _extrapolate(
    points: Sequence[_Measurement], classes: int, value: Callable[[_Measurement], float]
) -> float:
    """The value at this number of classes, on the line through the first and the last point.

    A falling line, which only noise can cause, is replaced by a constant one; a single point by a proportional line.
    """
    first, last = points[0], points[-1]
    top = float(value(last))
    if first.classes == last.classes:
        return top * classes / last.classes
    slope = max(0.0, (top - float(value(first))) / (last.classes - first.classes))
    return top + slope * (classes - last.classes)


def _pretraining_costs(recipe: Recipe, context: Context, samples: int) -> tuple[float, int]:
    """Seconds to train all networks that the recipe needs beforehand, and their bytes on disk.

    Args:
        recipe: resolved.
        context: of the samples that were read, on which one epoch is measured.
        samples: number of real samples of the whole source.
    """
    seconds, size = 0.0, 0
    for network, pretraining, keeps_epochs in dict.fromkeys(_pretrained_networks(recipe)):
        job = job_of(context, network, replace(pretraining, epochs=1), 0)
        started = time.perf_counter()
        train(job)
        epoch_seconds = (time.perf_counter() - started) / len(context.real) * samples
        epochs = require_resolved(pretraining.epochs)
        real = context.real
        module = networks.build(networks.network(network), real.num_classes, real.sample_shape, 0)
        # trajectories keep the weights of every epoch in half precision, other networks the last ones in float32
        bytes_per_weight = 2 * (epochs + 1) if keeps_epochs else 4
        seconds += epoch_seconds * epochs * pretraining.networks
        size += pretraining.networks * bytes_per_weight * sum(w.numel() for w in module.parameters())
    return seconds, size


def _pretrained_networks(part: Any) -> Iterator[tuple[Any, Pretraining, bool]]:
    """Every network in a part and its subparts, its training, and whether the weights of all epochs are kept."""
    if isinstance(part, tuple):
        for item in part:
            yield from _pretrained_networks(item)
    elif is_dataclass(part) and not isinstance(part, type):
        pretraining = getattr(part, "pretrain", None)
        network = getattr(part, "network", None)
        if isinstance(pretraining, Pretraining) and network is not None:
            yield network, pretraining, hasattr(part, "ahead")
        for field in fields(part):
            yield from _pretrained_networks(getattr(part, field.name))


def _with_short_pretraining(part: Any) -> Any:
    """The same recipe or part with one network trained beforehand, for as few epochs as possible."""
    if isinstance(part, tuple):
        return tuple(map(_with_short_pretraining, part))
    if not is_dataclass(part) or isinstance(part, type):
        return part
    if isinstance(part, Pretraining):
        return replace(part, epochs=1, networks=1)
    changed = {
        field.name: _with_short_pretraining(getattr(part, field.name)) for field in fields(part) if field.init
    }
    if hasattr(part, "ahead"):  # expert trajectories must be as long as the longest student is ahead
        changed["pretrain"] = replace(changed["pretrain"], epochs=require_resolved(part.ahead))
    return replace(
        part, **{name: value for name, value in changed.items() if value is not getattr(part, name)}
    )
