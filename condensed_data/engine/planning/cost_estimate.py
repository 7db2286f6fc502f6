"""Estimates what a build would take by running a few iterations on few samples of a few classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.spec import require_resolved
from condensed_data.core.torch_settings import own_settings
from condensed_data.data.batched_reads import second_reads
from condensed_data.data.real import RealData
from condensed_data.data.sample_store import available_memory
from condensed_data.data.source import Source
from condensed_data.engine.memory_estimate import MemoryEstimate, check_result, free_memory
from condensed_data.engine.planning.iteration_cost import estimate_iteration
from condensed_data.engine.planning.pretraining_cost import pretraining_cost
from condensed_data.engine.planning.source_sample import read_classes, read_labels
from condensed_data.methods.recipe import Recipe
from condensed_data.training.context import Context

MEASURED_CLASSES = 4


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


@own_settings()
def plan(
    source: Source,
    recipe: Recipe,
    device: torch.device,
    precision: str,
    seed: int = 0,
    announce: Callable[[str], None] = lambda step: None,
) -> Plan:
    """Measure what `recipe` would take on `source`, of which only a few classes are read.

    `announce` is called with what is done next, in words.

    Networks run eagerly, although a long build may compile them. Whitening and initializations that examine all real
    samples, such as herding, are not included.

    Raises:
        SourceError: for a source that cannot be condensed.
        ValueError: for a recipe that learns nothing, or does not fit the source.
    """
    if not recipe.terms:
        raise ValueError(f"Recipe {recipe.name} learns nothing, so there is nothing to plan. Build it directly.")
    announce("reading labels")
    labels, all_read = read_labels(source)
    values, counts = labels.unique(return_counts=True)
    names = _class_names(source, len(values), all_read)
    resolved = recipe.resolve(source.kind.shape, names, samples=len(source), dataset=source.known)
    check_result(resolved, source.kind.shape, min(MEASURED_CLASSES, len(names)))

    def start(real: RealData) -> Context:
        rng = RandomStreams(seed)
        return Context(real.to(device), resolved.ipc, rng, device, precision, compiles=False)

    with preserve_rng_state():
        largest = values[counts.argsort(descending=True)][:MEASURED_CLASSES]
        announce(f"reading samples of {len(largest)} classes")
        real, sample_seconds = read_classes(source, labels, largest, resolved, all_read)
        cost = estimate_iteration(resolved, real, len(names), start, announce)
        announce("timing the training of networks beforehand")
        pretraining_seconds, network_bytes = pretraining_cost(resolved, real, start, len(source))
    samples_bytes = real.store.bytes // len(real) * len(source)
    return Plan(
        name=source.name,
        recipe=resolved.name,
        samples=len(source),
        classes=len(names),
        all_labels_read=all_read,
        iterations=require_resolved(resolved.iterations),
        reading_seconds=sample_seconds * (len(source) + len(second_reads(len(source)))),
        pretraining_seconds=pretraining_seconds,
        iteration_seconds=cost.seconds,
        iteration_flop=cost.flop,
        memory=replace(cost.memory, samples=samples_bytes, on_disk=samples_bytes > available_memory() // 2),
        free_memory=free_memory(device),
        separable=all(term.objective.separable for term in resolved.terms),
        checkpoint_bytes=round(cost.checkpoint_bytes),
        network_bytes=network_bytes,
        result_bytes=round(cost.result_bytes),
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
