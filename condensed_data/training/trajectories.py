"""Expert trajectories: the weights of networks after every epoch of their training on the real samples.

They are kept by the store of the run. A file holds for every parameter its values at the start and after each epoch,
(E + 1, *shape), and is mapped rather than read, as an iteration needs two epochs of one expert.

Letters: E epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from condensed_data.core.spec import require_resolved
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache
from condensed_data.training.pretraining import (
    ONE_AT_A_TIME,
    JobKind,
    Pretraining,
    PretrainingJob,
    train_epochs,
)
from condensed_data.training.trained_networks import pretraining_jobs

PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32}
Weights = dict[str, Tensor]


def train_expert(job: PretrainingJob, precision: str = "fp16", on_epoch: Callable[[], None] | None = None) -> Weights:
    """Train one network and keep its parameters at the start and after each epoch.

    Args:
        job: what to train.
        precision: "fp16" or "fp32", in which parameters are kept.
        on_epoch: called after every epoch.

    Returns:
        {name: (E + 1, *shape)} on the CPU.

    Raises:
        FloatingPointError: if weights end as NaN or infinite in this precision.
    """
    with ONE_AT_A_TIME:
        module = job.initial_network().to(job.device)
        history = {name: [weight.detach().cpu().clone()] for name, weight in module.named_parameters()}
        for _ in train_epochs(job, module):
            for name, weight in module.named_parameters():
                history[name].append(weight.detach().cpu().clone())
            if on_epoch is not None:
                on_epoch()
    kept = {name: torch.stack(weights).to(PRECISIONS[precision]) for name, weights in history.items()}
    if not all(bool(torch.isfinite(weights).all()) for weights in kept.values()):
        raise FloatingPointError(
            f"Training an expert diverged: its weights are not finite in {precision}. Lower "
            f"SGDConfig(lr={job.pretraining.sgd.lr})."
        )
    return kept


@dataclass(frozen=True)
class ExpertTrajectory:
    """The parameters of one expert after every epoch.

    Attributes:
        source: {name: (E + 1, *shape)} in memory, or the file that holds them.
    """

    source: Weights | Path

    def at(self, epoch: int) -> Weights:
        """Parameters after `epoch` epochs, {name: (*shape)} float32 on the CPU."""
        if isinstance(self.source, dict):
            return {name: weights[epoch].float() for name, weights in self.source.items()}
        with safe_open(self.source, "pt") as file:
            names = list(file.keys())
            return {name: torch.as_tensor(file.get_slice(name)[epoch]).float() for name in names}


@dataclass(frozen=True)
class ExpertJobs(JobKind[ExpertTrajectory]):
    """Training whose result is the trajectory.

    Args:
        precision: "fp16" or "fp32", in which it is kept.
    """

    precision: str = "fp16"
    name = "experts"

    def train(self, job: PretrainingJob, on_epoch: Callable[[], None] | None = None) -> ExpertTrajectory:
        return ExpertTrajectory(train_expert(job, self.precision, on_epoch))

    def to_tensors(self, result: ExpertTrajectory) -> dict[str, Tensor]:
        assert isinstance(result.source, dict), "only a new trajectory is written"
        return result.source

    def from_file(self, path: Path, tensors: dict[str, Tensor]) -> ExpertTrajectory:
        return ExpertTrajectory(path)

    def size(self, job: PretrainingJob) -> int:
        values = sum(math.prod(weight.shape) for weight in job.initial_network().parameters())
        return values * (require_resolved(job.pretraining.epochs) + 1) * PRECISIONS[self.precision].itemsize


class Trajectories:
    """The trajectories of `pretraining.networks` experts; missing ones are trained now.

    Args:
        context: with the store that keeps and trains them; without one they stay in memory.
        network: a name or a callable (num_classes, sample_shape) -> Module.
        pretraining: resolved.
        precision: "fp16" or "fp32", in which they are kept.

    Raises:
        FloatingPointError: if training diverges.
    """

    def __init__(self, context: Context, network: Any, pretraining: Pretraining, precision: str) -> None:
        store = context.network_store or PretrainedCache()
        jobs = pretraining_jobs(context, network, pretraining)
        # Indexing checks every file before the run begins.
        self.experts: list[ExpertTrajectory] = list(store.get(ExpertJobs(precision), jobs))

    def __len__(self) -> int:
        return len(self.experts)

    def at(self, index: int, epoch: int) -> Weights:
        """Parameters of one expert after `epoch` epochs, {name: (*shape)} float32 on the CPU."""
        return self.experts[index].at(epoch)
