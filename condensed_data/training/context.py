"""What a run offers to its parts when they start: the data, the random draws, the device, the processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from condensed_data.core.process_group import ALONE, ProcessGroup
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.training.pretraining import JobKind, PretrainingJob, Result


class NetworkStore(Protocol):
    """Trains networks on the real samples and keeps what results; see `condensed_data.training.pretrained_cache`."""

    def get(self, kind: JobKind[Result], jobs: Sequence[PretrainingJob]) -> Sequence[Result]:
        """The results of these jobs, which differ in their seeds only; missing ones are trained now."""


@dataclass(frozen=True)
class Context:
    """What a run offers to its parts when they start.

    Attributes:
        real: the real samples, standardized, by class and by group.
        ipc: samples stored per class.
        rng: the run's random draws.
        device: where the run computes.
        precision: "fp32" or "bf16".
        compiles: whether the run is long enough for compiling networks to pay off.
        network_store: trains and keeps networks on the real samples; None trains them in memory.
        ranks: the processes among which the run is divided.
    """

    real: RealData
    ipc: int
    rng: RandomStreams
    device: torch.device
    precision: str = "fp32"
    compiles: bool = True
    network_store: NetworkStore | None = None
    ranks: ProcessGroup = ALONE
