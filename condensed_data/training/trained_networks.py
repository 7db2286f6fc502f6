"""Networks trained on the real samples, from the store of the run, or on another dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.annotations import Natural, checked
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache
from condensed_data.training.pretraining import JobKind, Pretraining, PretrainingJob, TrainedNetwork, train

_WEIGHT = "weight."


@dataclass(frozen=True)
class NetworkJobs(JobKind[TrainedNetwork]):
    """Training whose result is the network."""

    def train(self, job: PretrainingJob, on_rows: Callable[[int], None] | None = None) -> TrainedNetwork:
        return train(job, on_rows)

    def samples(self, job: PretrainingJob) -> int:
        return super().samples(job) + len(job.real)  # the last pass gives the class means

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
    """`pretraining.networks` networks trained on the samples of `context`, from its store or in memory."""
    jobs = pretraining_jobs(context, network, pretraining)
    return context.network_store.get(NetworkJobs(), jobs)


def pretraining_jobs(context: Context, network: Any, pretraining: Pretraining) -> list[PretrainingJob]:
    """The training of `pretraining.networks` networks on the samples of `context`."""
    device, precision = str(context.device), context.precision
    return [
        PretrainingJob(context.real, network, pretraining, _seed(context, index), device, precision)
        for index in range(pretraining.networks)
    ]


def initial_network(context: Context, network: Any, index: int) -> nn.Module:
    """Trained network number `index` as it was before its training, on the CPU."""
    job = PretrainingJob(context.real, network, Pretraining(), _seed(context, index), "cpu", context.precision)
    return job.initial_network()


@checked
def pretrain(
    source: Any,
    network: str | Callable[..., nn.Module],
    pretraining: Pretraining | None = None,
    *,
    seed: Natural = 0,
    folder: str | Path | None = None,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    num_workers: Natural = 0,
    progress: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> list[dict[str, Tensor]]:
    """Train networks on another dataset, for `pools.GivenWeights`.

    DD's adaptation (Wang et al., 2018, https://arxiv.org/abs/1811.10959, section 4.2) trains with Adam; here it is
    `SGDConfig`, SGD with momentum.

    Args:
        source: any dataset that `CondensedDataset` takes. Its samples must have the shape of those that the networks
            will be adapted to (resize them); they are standardized by their own mean and standard deviation.
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        pretraining: how many networks, and how to train them; by default `Pretraining()`.
        seed: of initial weights and draws.
        folder: cache of trained networks; None for no cache.
        device, precision: where and how to compute.
        num_workers, progress: for reading the source.
        report: called with (samples done, all of them), which count once for every epoch and network, and once more
            for its class means.

    Returns:
        `pretraining.networks` state dictionaries on the CPU. Asking for more networks does not change the first ones.

    Raises:
        SourceError: if the source cannot be read.
        FloatingPointError: if training diverges.
    """
    device = choose_device(device)
    with preserve_rng_state():
        real = RealData.read(inspect(source, num_workers), None, progress).to(device)
        store = PretrainedCache(None if folder is None else Path(folder), report=report)
        precision = choose_precision(precision, device)
        context = Context(real, 1, RandomStreams(seed), device, precision, network_store=store)
        return [result.weights for result in trained_networks(context, network, pretraining or Pretraining())]


def _seed(context: Context, index: int) -> int:
    return context.rng.seed_for("trained network", index)
