"""Expert trajectories: the weights of networks after every epoch of their training on the real samples.

They are kept by the store of the run. A file holds for every parameter its values at the start and after each epoch, (E
+ 1, *shape), and is mapped rather than read, as an iteration needs two epochs of one expert. Letters: E epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from condensed_data.core.spec import require_resolved
from condensed_data.training.context import Context
from condensed_data.training.pretraining import ONE_AT_A_TIME, JobKind, Pretraining, PretrainingJob, train_epochs
from condensed_data.training.trained_networks import pretraining_jobs

PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32}
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class ExpertTrajectory:
    """The parameters of one expert after every epoch."""

    source: Weights | Path  # {name: (E + 1, *shape)} in memory, or the file that holds them

    def at(self, epoch: int) -> Weights:
        """Parameters after `epoch` epochs, {name: (*shape)} float32 on the CPU."""
        if isinstance(self.source, dict):
            return {name: weights[epoch].float() for name, weights in self.source.items()}
        with safe_open(self.source, "pt") as file:
            names = list(file.keys())
            return {name: torch.as_tensor(file.get_slice(name)[epoch]).float() for name in names}


@dataclass(frozen=True)
class ExpertJobs(JobKind[ExpertTrajectory]):
    """Training whose result is the trajectory: the parameters at the start and after each epoch.

    Args:
        precision: "fp16" or "fp32", in which it is kept; weights that are not finite in it raise FloatingPointError.
    """

    precision: str = "fp16"
    name = "experts"

    def train(self, job: PretrainingJob, on_rows: Callable[[int], None] | None = None) -> ExpertTrajectory:
        with ONE_AT_A_TIME:
            module = job.initial_network().to(job.device)
            history = {name: [weight.detach().cpu().clone()] for name, weight in module.named_parameters()}
            for _ in train_epochs(job, module, on_rows):
                for name, weight in module.named_parameters():
                    history[name].append(weight.detach().cpu().clone())
        kept = {name: torch.stack(weights).to(PRECISIONS[self.precision]) for name, weights in history.items()}
        if not all(bool(torch.isfinite(weights).all()) for weights in kept.values()):
            raise FloatingPointError(
                f"Training an expert diverged: its weights are not finite in {self.precision}. Lower "
                f"SGDConfig(lr={job.pretraining.sgd.lr})."
            )
        return ExpertTrajectory(kept)

    def to_tensors(self, result: ExpertTrajectory) -> dict[str, Tensor]:
        assert isinstance(result.source, dict), "only a new trajectory is written"
        return result.source

    def from_file(self, path: Path, tensors: dict[str, Tensor]) -> ExpertTrajectory:
        return ExpertTrajectory(path)

    def size(self, job: PretrainingJob) -> int:
        values = sum(math.prod(weight.shape) for weight in job.initial_network().parameters())
        return values * (require_resolved(job.pretraining.epochs) + 1) * PRECISIONS[self.precision].itemsize


def expert_trajectories(
    context: Context, network: Any, pretraining: Pretraining, precision: str
) -> Sequence[ExpertTrajectory]:
    """The trajectories of `pretraining.networks` experts, from the store of `context`; missing ones are trained now.

    `pretraining` is resolved; `precision`, "fp16" or "fp32", is that in which they are kept.
    """
    jobs = pretraining_jobs(context, network, pretraining)
    # A list, because indexing checks every file before the run begins.
    return list(context.network_store.get(ExpertJobs(precision), jobs))
