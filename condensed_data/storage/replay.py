"""Stores the training schedule of an order-dependent condensed dataset; see `methods.replay.TrainingSchedule`.

An artifact has the manifest field `replay`, {"network": canonical JSON or null, "initial": "new", "stored" or
"given", "digest": text or null, "head": "loaded" or "zeroed", "weights": names}, and the tensors `replay.order`,
`replay.batch_sizes`, `replay.step_sizes` and `replay.weight.0`, ... in the order of those names. It requires the
feature "replay".

Letters: T steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.errors import ArtifactError
from condensed_data.methods.base import InitialState
from condensed_data.methods.replay import TrainingSchedule

FEATURE = "replay"
_WEIGHT = "replay.weight."


def tensors_of(replay: TrainingSchedule) -> dict[str, Tensor]:
    """The tensors of a schedule as stored in an artifact."""
    weights = replay.initial.weights or {}
    return {
        "replay.order": replay.order,
        "replay.batch_sizes": torch.tensor(replay.sizes),
        "replay.step_sizes": replay.step_sizes,
        **{f"{_WEIGHT}{i}": weight.detach().cpu() for i, weight in enumerate(weights.values())},
    }


def to_manifest(replay: TrainingSchedule) -> dict[str, Any]:
    """The manifest field `replay` of a schedule."""
    network, initial = None, replay.initial
    with suppress(specs.UnnamedCallableError):
        network = specs.to_json(replay.network)
    return {
        "network": network,
        "initial": initial.kind,
        "digest": initial.digest,
        "head": initial.head,
        "weights": list(initial.weights or ()),
    }


def read(field: Mapping[str, Any], tensors: Mapping[str, Tensor], samples: int, where: str | Path) -> TrainingSchedule:
    """Rebuild the schedule of the artifact at `where` from its checked manifest field and unchecked tensors.

    Raises:
        ArtifactError: if tensors are missing or do not form a schedule over `samples` samples.
    """
    names = [f"{_WEIGHT}{i}" for i in range(len(field["weights"]))]
    for name in ("replay.order", "replay.batch_sizes", "replay.step_sizes", *names):
        if name not in tensors:
            raise ArtifactError.mismatch(where, f"no tensor {name!r}", "the tensor that the field `replay` requires")
    order, sizes, steps = (tensors[f"replay.{name}"] for name in ("order", "batch_sizes", "step_sizes"))
    counts = all(tensor.dtype == torch.int64 and tensor.dim() == 1 for tensor in (order, sizes))
    if not counts or int(sizes.min()) < 1 or int(sizes.sum()) != len(order):
        raise ArtifactError.mismatch(
            where, "replay.batch_sizes that do not fit replay.order", "sizes that sum to its length"
        )
    low, high = int(order.min()), int(order.max())
    if low < 0 or high >= samples:
        raise ArtifactError.mismatch(where, f"replay.order from {low} to {high}", f"indices from 0 to {samples - 1}")
    if steps.shape != sizes.shape or steps.dtype != torch.float32:
        raise ArtifactError.mismatch(
            where, f"replay.step_sizes {tuple(steps.shape)}", f"float32 ({len(sizes)},), one per step"
        )
    weights = dict(zip(field["weights"], (tensors[name] for name in names), strict=True)) or None
    initial = InitialState(field["initial"], weights, field["digest"], field["head"])
    return TrainingSchedule(order, tuple(sizes.tolist()), steps, _network(field["network"]), initial)


def _network(form: Any) -> Any:
    try:
        return specs.from_json(form)
    except ValueError:  # a user's callable, or from a newer version: `evaluate` asks for the network
        return None
