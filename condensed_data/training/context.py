"""What a run offers to its parts when they start: the data, the random draws, the device, the processes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from condensed_data.core.process_group import ALONE, ProcessGroup
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.training.pretrained_cache import PretrainedCache


@dataclass(frozen=True)
class Context:
    """What a run offers to its parts when they start."""

    real: RealData  # the real samples, standardized, by class and by group
    ipc: int  # samples stored per class
    rng: RandomStreams  # the run's random draws
    device: torch.device  # where the run computes
    precision: str = "fp32"  # "fp32" or "bf16"
    compiles: bool = True  # whether the run is long enough for compiling networks to pay off
    # cache of networks trained on the real samples; by default in memory
    network_store: PretrainedCache = field(default_factory=PretrainedCache)
    progress: bool = False  # whether parts that take long when they start show a bar
    ranks: ProcessGroup = ALONE  # the processes among which the run is divided
