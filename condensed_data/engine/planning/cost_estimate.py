"""What a build will take, measured on a sample of the source before anything is read whole.

A few classes of the source are read, and a few iterations of the recipe run on them, with two numbers of classes: time,
memory, disk and floating-point operations of an iteration grow linearly in the classes, so two points tell those of all.

Letters: n real samples, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
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
from condensed_data.engine.memory_estimate import Estimate, estimate
from condensed_data.engine.planning.source_sample import labels_of, of_first, sampled
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import Pixels
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining, job_of, train

CLASSES = 4  # that are measured
SECONDS = 5.0  # of measured iterations for each number of classes


@dataclass(frozen=True)
class Plan:
    """What a build will take. Bytes, seconds and operations of the whole run, unless said otherwise.

    Attributes:
        name, recipe: what is built.
        samples, classes: of the source; `counted` tells whether all labels were seen.
        iterations: of the recipe.
        reading: seconds to read the source with one process.
        iteration: seconds of an iteration; operations: floating-point operations of an iteration.
        pretraining: seconds to train networks on the real samples beforehand.
        memory: see `Estimate`; free: bytes that the device has; pieces: whether a step may be cut into pieces.
        checkpoint, networks, result: bytes on disk.
        device: where it was measured.
    """

    name: str
    recipe: str
    samples: int
    classes: int
    counted: bool
    iterations: int
    reading: float
    iteration: float
    operations: float
    pretraining: float
    memory: Estimate
    free: int
    pieces: bool
    checkpoint: int
    networks: int
    result: int
    device: str

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.reading + self.pretraining + self.iterations * self.iteration


@dataclass(frozen=True)
class _Point:
    """What was measured with some classes: numbers that are linear in them."""

    classes: int
    seconds: float
    operations: float
    memory: Estimate
    checkpoint: int
    result: int


def plan(source: Source, recipe: Recipe, device: torch.device, precision: str, seed: int = 0) -> Plan:
    """Measure what `recipe` will take on `source`, of which a few classes are read.

    Networks run as they are written, where a long build may compile them; herding and the like, which choose the
    first samples by looking at all real ones, and whitening are not counted.

    Raises:
        SourceError: for a source that cannot be condensed.
        ValueError: for a recipe that learns nothing, or does not fit the source.
    """
    if not recipe.terms:
        raise ValueError(f"Recipe {recipe.name} learns nothing, so there is nothing to plan. Build it.")
    labels, counted = labels_of(source)
    values, counts = labels.unique(return_counts=True)
    known = len(source.class_names or ())
    classes = len(values) if counted else max(len(values), known)
    names = [source.class_names[v] if source.class_names and v < known else "" for v in range(classes)]
    resolved = recipe.resolve(source.kind.shape, names if all(names) else [""] * classes, samples=len(source))
    with preserve_rng_state():
        real, reading = sampled(
            source, labels, values[counts.argsort(descending=True)][:CLASSES], resolved, counted
        )
        return _plan(
            source, resolved, real, reading, (classes, counted), RandomStreams(seed), device, precision
        )


def _plan(
    source: Source,
    recipe: Recipe,
    real: RealData,
    reading: float,
    known: tuple[int, bool],
    rng: RandomStreams,
    device: torch.device,
    precision: str,
) -> Plan:
    classes, counted = known
    least = max(2, real.num_classes // 2)
    few = [
        _measured(recipe, of_first(real, count), rng, device, precision)
        for count in sorted({min(least, real.num_classes), real.num_classes})
    ]
    context = Context(real.to(device), recipe.ipc, rng, device, precision, compiles=False)
    seconds, kept = _pretraining(recipe, context, len(source))
    row = real.store.bytes // len(real)
    whole = row * len(source)
    memory = Estimate(
        whole,
        whole > available_memory() // 2,
        learned=round(_at(few, classes, lambda p: p.memory.learned)),
        batch=round(_at(few, classes, lambda p: p.memory.batch)),
        maps=round(_at(few, classes, lambda p: p.memory.maps)),
        weights=few[-1].memory.weights,
        remedies=few[-1].memory.remedies,
    )
    cuda = device.type == "cuda"
    return Plan(
        name=source.name,
        recipe=recipe.name,
        samples=len(source),
        classes=classes,
        counted=counted,
        iterations=require_resolved(recipe.iterations),
        reading=reading * len(source),
        iteration=_at(few, classes, lambda p: p.seconds),
        operations=_at(few, classes, lambda p: p.operations),
        pretraining=seconds,
        memory=memory,
        free=int(torch.cuda.mem_get_info(device)[0]) if cuda else available_memory(),
        pieces=all(term.objective.separable for term in recipe.terms),
        checkpoint=round(_at(few, classes, lambda p: p.checkpoint)),
        networks=kept,
        result=round(_at(few, classes, lambda p: p.result)),
        device=torch.cuda.get_device_name(device) if cuda else f"{torch.get_num_threads()} threads of a CPU",
    )


def _at(points: Sequence[_Point], classes: int, value: Any) -> float:
    """The value at this number of classes, on the line through the first and the last point; it does not fall."""
    first, last = points[0], points[-1]
    top = float(value(last))
    if first.classes == last.classes:
        return top * classes / last.classes
    slope = max(0.0, (top - float(value(first))) / (last.classes - first.classes))
    return top + slope * (classes - last.classes)


def _measured(
    recipe: Recipe, real: RealData, rng: RandomStreams, device: torch.device, precision: str
) -> _Point:
    short = _shortened(recipe)
    run = CondensationRun(short, Context(real.to(device), recipe.ipc, rng, device, precision, compiles=False))
    with FlopCounterMode(display=False) as counter:
        float(run.step())  # it also warms up
    seconds, swept = 0.0, 0
    while swept < 3 or (seconds < SECONDS and swept < 20):
        begun = time.perf_counter()
        float(run.step())
        seconds, swept = seconds + time.perf_counter() - begun, swept + 1
        if seconds > SECONDS:
            break
    return _Point(
        real.num_classes,
        seconds / swept,
        float(counter.get_total_flops()),
        estimate(run),
        sum(tensor.numel() * tensor.element_size() for tensor in _tensors(run.state_dict())),
        4 * (run.synthetic_data.stored_floats if not isinstance(recipe.synthetic, Pixels) else _values(run)),
    )


def _values(run: CondensationRun) -> int:
    return len(run.synthetic_data.labels) * prod(run.context.real.sample_shape)


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict | list | tuple):
        for item in state.values() if isinstance(state, dict) else state:
            yield from _tensors(item)


def _pretraining(recipe: Recipe, context: Context, samples: int) -> tuple[float, int]:
    """Seconds to train all networks that the recipe wants beforehand, and the bytes that they take on disk."""
    seconds, size = 0.0, 0
    for network, pretraining, epochs_kept in dict.fromkeys(_wanted(recipe)):
        job = job_of(context, network, replace(pretraining, epochs=1), 0)
        begun = time.perf_counter()
        train(job)
        epoch = (time.perf_counter() - begun) / len(context.real) * samples
        module = networks.build(
            networks.network(network), context.real.num_classes, context.real.sample_shape, 0
        )
        weights = sum(weight.numel() for weight in module.parameters())
        seconds += epoch * require_resolved(pretraining.epochs) * pretraining.networks
        size += (
            pretraining.networks
            * weights
            * (2 * (require_resolved(pretraining.epochs) + 1) if epochs_kept else 4)
        )
    return seconds, size


def _wanted(part: Any) -> Iterator[tuple[Any, Pretraining, bool]]:
    """Networks, their training, and whether those of every epoch are kept, below a part."""
    if isinstance(part, tuple):
        for item in part:
            yield from _wanted(item)
    elif is_dataclass(part) and not isinstance(part, type):
        found = getattr(part, "pretrain", None)
        network = getattr(part, "network", None)
        if isinstance(found, Pretraining) and network is not None:
            yield network, found, hasattr(part, "ahead")
        for field in fields(part):
            yield from _wanted(getattr(part, field.name))


def _shortened(part: Any) -> Any:
    """The same with networks that are hardly trained beforehand: one, for as few epochs as it takes."""
    if isinstance(part, tuple):
        return tuple(map(_shortened, part))
    if not is_dataclass(part) or isinstance(part, type):
        return part
    if isinstance(part, Pretraining):
        return replace(part, epochs=1, networks=1)
    changed = {field.name: _shortened(getattr(part, field.name)) for field in fields(part) if field.init}
    if hasattr(part, "ahead"):
        changed["pretrain"] = replace(changed["pretrain"], epochs=require_resolved(part.ahead))
    return replace(
        part, **{name: value for name, value in changed.items() if value is not getattr(part, name)}
    )
