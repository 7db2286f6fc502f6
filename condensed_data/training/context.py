"""What a run offers to its parts when they start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from condensed_data.core.process_group import ALONE, ProcessGroup
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData


class NetworkStore(Protocol):
    """Where networks trained on the real samples are kept; see `condensed_data.training.pretrained_cache`."""

    def get(self, context: Context, network: Any, pretraining: Any) -> Sequence[Any]:
        """`pretraining.networks` networks trained on the samples of `context`; missing ones are trained now."""


@dataclass(frozen=True)
class Context:
    """What a run offers to its parts when they start.

    Attributes:
        real: the real samples, standardized, by class and by group.
        ipc: samples stored per class.
        rng: the run's random draws.
        device: where the run computes.
        precision: "fp32" or "bf16".
        compiles: whether the run is long enough to compile networks.
        network_store: where networks trained on the real samples are kept; None trains them in memory.
        ranks: the processes that share the run.
    """

    real: RealData
    ipc: int
    rng: RandomStreams
    device: torch.device
    precision: str = "fp32"
    compiles: bool = True
    network_store: NetworkStore | None = None
    ranks: ProcessGroup = ALONE
