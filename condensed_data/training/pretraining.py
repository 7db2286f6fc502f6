"""Training networks on the real samples before a run: what is asked for, the job, and what comes of it.

`condensed_data.training.pretrained_cache` keeps the results. Letters: n real samples, K classes, D features.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.device import to_device
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.spec import DataDefault, Spec, require_resolved
from condensed_data.core.validation import check_count
from condensed_data.data.real import RealData
from condensed_data.training.compute import autocast
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, SGDTrainer, run_steps

# Training draws what layers draw (dropout) from torch's global state, which threads would share.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Pretraining(Spec):
    """How networks are trained on the real samples before a run.

    Args:
        epochs: passes over all real samples.
        networks: how many are trained, each from its own initial weights.
        descent: the steps. By default SGD at 0.01 with momentum 0.9 and weight decay 5e-4 on batches of 256, no
            augmentation, as in IID's code.

    Raises:
        ValueError: unless both numbers are positive.
    """

    epochs: int | DataDefault = 20
    networks: int = 1
    sgd: SGDConfig = field(default=SGDConfig(0.01, 0.9, 5e-4))

    def __post_init__(self) -> None:
        check_count("Pretraining", "epochs", self.epochs)
        check_count("Pretraining", "networks", self.networks)


@dataclass(frozen=True)
class TrainedNetwork:
    """What is known of one trained network, on the CPU.

    Attributes:
        weights: its state dictionary.
        centers: (K, D) class means of the embeddings of all real samples, in evaluation mode; None for a network
            without an embedding (no method `embed` and no linear layer).
        forgotten: (n,) int32: how often each sample was classified correctly in one epoch and wrongly in the next
            (the forgetting events of Toneva et al., ICLR 2019, https://arxiv.org/abs/1812.05159).
    """

    weights: dict[str, Tensor]
    centers: Tensor | None
    forgotten: Tensor


@dataclass(frozen=True)
class PretrainingJob:
    """The training of one network: picklable, for any executor.

    Attributes:
        real: the samples.
        network: (num_classes, sample_shape) -> Module, or a name.
        pretraining: resolved.
        seed: of this network; see `network_seed`.
        device, precision: where and how it computes.
    """

    real: RealData
    network: str | Callable[..., nn.Module]
    pretraining: Pretraining
    seed: int
    device: str
    precision: str


def network_seed(context: Context, index: int) -> int:
    """Seed of trained network number `index`."""
    return context.rng.seed_for("trained network", index)


def initial(context: Context, network: Any, index: int) -> nn.Module:
    """Trained network number `index` as it was before its training, on the CPU."""
    real = context.real
    return _initial(network, real.num_classes, real.sample_shape, network_seed(context, index))


def _initial(network: Any, num_classes: int, shape: tuple[int, ...], seed: int) -> nn.Module:
    return networks.build(
        networks.network(network), num_classes, shape, RandomStreams(seed).seed_for("network")
    )


def job_of(context: Context, network: Any, pretraining: Pretraining, index: int) -> PretrainingJob:
    """The training of network number `index` on the samples of `context`."""
    seed = network_seed(context, index)
    return PretrainingJob(context.real, network, pretraining, seed, str(context.device), context.precision)


def train(job: PretrainingJob, on_epoch: Callable[[], None] | None = None) -> TrainedNetwork:
    """Train one network from scratch; equal jobs give equal bits.

    Args:
        job: what is trained.
        on_epoch: called after every epoch.

    Raises:
        FloatingPointError: if the loss ends as NaN or infinite.
    """
    with _ONE_AT_A_TIME:
        real, shape, device = job.real, job.real.sample_shape, torch.device(job.device)
        module = _initial(job.network, real.num_classes, shape, job.seed).to(device).requires_grad_(False)
        descender = SGDTrainer(module, job.pretraining.sgd, real.num_classes, shape, job.precision)
        correct = torch.zeros(len(real), dtype=torch.bool)
        forgotten = torch.zeros(len(real), dtype=torch.int32)
        for epoch in range(require_resolved(job.pretraining.epochs)):
            now = _epoch(job, descender, epoch)
            forgotten += correct & ~now
            correct = now
            if on_epoch is not None:
                on_epoch()
        centers = class_means(module.eval(), real, device, job.precision)
    weights = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    return TrainedNetwork(weights, centers, forgotten)


def _epoch(job: PretrainingJob, descender: SGDTrainer, epoch: int) -> Tensor:
    """One pass over all samples; which were classified correctly when they came, (n,) bool."""
    rng = RandomStreams(RandomStreams(job.seed).seed_for("epoch", epoch))
    index = job.pretraining.sgd.batches(len(job.real), rng.torch("shuffle"))
    device = torch.device(job.device)
    batches = (job.real.batch(rows, device) for rows in index)
    steps = run_steps(descender, batches, rng)
    last = float(steps[-1][0])
    if not math.isfinite(last):
        raise FloatingPointError(
            f"Training a {type(descender.module).__name__} on the real samples diverged to a loss of {last} in "
            f"epoch {epoch + 1}: lower SGDConfig(lr={job.pretraining.sgd.lr})."
        )
    correct = torch.zeros(len(job.real), dtype=torch.bool)
    correct[torch.cat(index)] = torch.cat([hits for _, hits in steps]).cpu()
    return correct


def class_means(
    module: nn.Module, real: RealData, device: torch.device, precision: str = "fp32"
) -> Tensor | None:
    """(K, D) float32 means of the embeddings of all real samples of every class, on the CPU; None without any."""
    if networks.probe(module, real.sample_shape).features is None:
        return None
    embed, total = networks.embed_of(module), None
    with torch.no_grad(), preserve_rng_state():
        for rows in torch.arange(len(real)).split(256):
            with autocast(device, precision):
                features = embed(to_device(real[rows], device)).cpu().double()
            if total is None:
                total = torch.zeros(real.num_classes, features.shape[1], dtype=torch.float64)
            total.index_add_(0, real.labels[rows], features)
    assert total is not None
    counts = real.labels.bincount(minlength=real.num_classes)
    return (total / counts[:, None]).float()
