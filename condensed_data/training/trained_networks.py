"""Networks trained on the real samples, from the store of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache
from condensed_data.training.pretraining import JobKind, Pretraining, PretrainingJob, TrainedNetwork, train

_WEIGHT = "weight."


@dataclass(frozen=True)
class NetworkJobs(JobKind[TrainedNetwork]):
    """Training whose result is the network."""

    def train(self, job: PretrainingJob, on_epoch: Callable[[], None] | None = None) -> TrainedNetwork:
        return train(job, on_epoch)

    def to_tensors(self, result: TrainedNetwork) -> dict[str, Tensor]:
        tensors = {_WEIGHT + name: tensor.contiguous().clone() for name, tensor in result.weights.items()}
        tensors["forgotten"] = result.forgotten
        return tensors if result.centers is None else {**tensors, "centers": result.centers}

    def from_file(self, path: Path, tensors: dict[str, Tensor]) -> TrainedNetwork:
        # Clones, because the tensors are views of the file, which a damaged disk or a user may cut short.
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        weights = {name.removeprefix(_WEIGHT): tensors[name] for name in tensors if name.startswith(_WEIGHT)}
        return TrainedNetwork(weights, tensors.get("centers"), tensors["forgotten"])


def trained_networks(context: Context, network: Any, pretraining: Pretraining) -> Sequence[TrainedNetwork]:
    """`pretraining.networks` networks trained on the samples of `context`, from its store or in memory.

    Raises:
        FloatingPointError: if training diverges.
    """
    jobs = pretraining_jobs(context, network, pretraining)
    return (context.network_store or PretrainedCache()).get(NetworkJobs(), jobs)


def pretraining_jobs(context: Context, network: Any, pretraining: Pretraining) -> list[PretrainingJob]:
    """The training of `pretraining.networks` networks on the samples of `context`."""
    device, precision = str(context.device), context.precision
    return [
        PretrainingJob(context.real, network, pretraining, _seed(context, index), device, precision)
        for index in range(pretraining.networks)
    ]


def initial_network(context: Context, network: Any, index: int) -> nn.Module:
    """Trained network number `index` as it was before its training, on the CPU."""
    job = PretrainingJob(
        context.real, network, Pretraining(), _seed(context, index), "cpu", context.precision
    )
    return job.initial_network()


def _seed(context: Context, index: int) -> int:
    return context.rng.seed_for("trained network", index)
