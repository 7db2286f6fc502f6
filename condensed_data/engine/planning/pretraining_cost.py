"""Estimates what training networks on the real samples, before a run, would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from condensed_data import networks
from condensed_data.core.spec import require_resolved
from condensed_data.data.real import RealData
from condensed_data.engine.planning.source_sample import first_samples
from condensed_data.methods.recipe import Recipe
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining, train
from condensed_data.training.trained_networks import pretraining_jobs

SECONDS = 4.0  # that a measurement may take


def pretraining_cost(
    recipe: Recipe, real: RealData, start: Callable[[RealData], Context], samples: int
) -> tuple[float, int]:
    """Seconds to train all networks that the recipe needs beforehand on `samples` samples, and their bytes on disk.

    One epoch is measured on as many of the samples of `real` as take a few seconds; `start` gives the context of a run
    on them.
    """
    seconds, size = 0.0, 0
    for network, pretraining, keeps_epochs in dict.fromkeys(_pretrained_networks(recipe)):
        shorter, rows, took = replace(pretraining, epochs=1, networks=1), 1, 0.0
        while took * 4 < SECONDS and rows < 4 * max(map(len, real.members)):
            part = first_samples(real, real.num_classes, rows)
            (job,) = pretraining_jobs(start(part), network, shorter)
            started = time.perf_counter()
            train(job)
            took, rows = time.perf_counter() - started, 4 * rows
        epoch_seconds = took / len(part) * samples
        epochs = require_resolved(pretraining.epochs)
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


def is_pretrained(recipe: Recipe) -> bool:
    """Whether the recipe needs networks trained on the real samples beforehand."""
    return any(True for _ in _pretrained_networks(recipe))


def with_short_pretraining(part: Any) -> Any:
    """The same recipe or part with one network trained beforehand, for as few epochs as possible."""
    if isinstance(part, tuple):
        return tuple(map(with_short_pretraining, part))
    if not is_dataclass(part) or isinstance(part, type):
        return part
    if isinstance(part, Pretraining):
        return replace(part, epochs=1, networks=1)
    changed = {field.name: with_short_pretraining(getattr(part, field.name)) for field in fields(part) if field.init}
    if hasattr(part, "ahead"):  # expert trajectories must be as long as the longest student is ahead
        changed["pretrain"] = replace(changed["pretrain"], epochs=require_resolved(part.ahead))
    return replace(part, **{name: value for name, value in changed.items() if value is not getattr(part, name)})
