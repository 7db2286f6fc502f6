"""Training networks on the real samples before a run: how (`Pretraining`), of what (`PretrainingJob`), and the result.

`condensed_data.training.pretrained_cache` keeps results. Letters: n real samples, K classes, D features.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.device import autocast, to_device
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.spec import DataDefault, Spec, require_resolved
from condensed_data.core.validation import check_count
from condensed_data.data.real import RealData
from condensed_data.training.protocol import check_milestones
from condensed_data.training.sgd import SGDConfig, SGDTrainer, run_steps

Result = TypeVar("Result")
# Layers draw (dropout) from torch's global random state, which threads share.
ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Pretraining(Spec):
    """How networks are trained on the real samples before a run.

    Args:
        epochs: passes over all real samples; positive.
        networks: how many to train, each from its own initial weights; positive.
        sgd: the steps. By default SGD at 0.01 with momentum 0.9 and weight decay 5e-4 on batches of 256, without
            augmentation, as in IID's code.
        milestones: fractions of the epochs, in (0, 1), after which the learning rate is multiplied by `decay`; none by
            default. The momentum is kept.
        decay: factor at each milestone, positive.
    """

    epochs: int | DataDefault = 20
    networks: int = 1
    sgd: SGDConfig = field(default=SGDConfig(0.01, 0.9, 5e-4))
    milestones: tuple[float, ...] = ()
    decay: float = 0.2

    def __post_init__(self) -> None:
        check_count("Pretraining", "epochs", self.epochs, or_default=True)
        check_count("Pretraining", "networks", self.networks)
        check_milestones("Pretraining", self.milestones, self.decay)

    def lr_at(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        epochs = require_resolved(self.epochs)
        return self.sgd.lr * self.decay ** sum(int(epochs * at) <= epoch for at in self.milestones)


@dataclass(frozen=True)
class TrainedNetwork:
    """One trained network, on the CPU."""

    weights: dict[str, Tensor]  # its state dictionary
    # (K, D) class means of the embeddings of all real samples, in evaluation mode; None for a network without an
    # embedding (no method `embed` and no linear layer)
    centers: Tensor | None
    # (n,) int32: how often each sample was classified correctly in one epoch and wrongly in the next (the
    # forgetting events of Toneva et al., ICLR 2019, https://arxiv.org/abs/1812.05159)
    forgotten: Tensor


@dataclass(frozen=True)
class PretrainingJob:
    """The training of one network: picklable, for any executor."""

    real: RealData  # the samples
    network: str | Callable[..., nn.Module]  # (num_classes, sample_shape) -> Module, or a name
    pretraining: Pretraining  # resolved
    seed: int  # of the initial weights and all draws
    device: str  # where and how to compute
    precision: str

    def initial_network(self) -> nn.Module:
        """The network before its training, on the CPU."""
        build, seed = networks.network(self.network), RandomStreams(self.seed).seed_for("network")
        return networks.build(build, self.real.num_classes, self.real.sample_shape, seed)


class JobKind(ABC, Generic[Result]):
    """How a pretraining job is run, and how its result is written to a file and read again.

    Frozen dataclasses, picklable for any executor. The values of their fields are part of the key of the cache.
    """

    name: ClassVar[str] = "networks"

    @abstractmethod
    def train(self, job: PretrainingJob, on_rows: Callable[[int], None] | None = None) -> Result:
        """Run one job; `on_rows` is called with the number of samples of every part of a batch."""

    @abstractmethod
    def to_tensors(self, result: Result) -> dict[str, Tensor]:
        """A new result as contiguous tensors by name, which share no memory."""

    @abstractmethod
    def from_file(self, path: Path, tensors: dict[str, Tensor]) -> Result:
        """The result in a file with these tensors, which are views of it."""

    def samples(self, job: PretrainingJob) -> int:
        """How many samples `train` reports to `on_rows`."""
        return require_resolved(job.pretraining.epochs) * len(job.real)

    def size(self, job: PretrainingJob) -> int | None:
        """Bytes of one result, if they are so many that they should be announced."""
        return None


def train(job: PretrainingJob, on_rows: Callable[[int], None] | None = None) -> TrainedNetwork:
    """Train one network from scratch; equal jobs give equal bits.

    `on_rows` is called with the number of samples of every part of a batch. A loss that ends as NaN or infinite raises
    FloatingPointError.
    """
    with ONE_AT_A_TIME:
        module = job.initial_network().to(job.device)
        was_correct = torch.zeros(len(job.real), dtype=torch.bool)
        forgotten = torch.zeros(len(job.real), dtype=torch.int32)
        for epoch, (loss, correct) in enumerate(train_epochs(job, module, on_rows)):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"Training a {type(module).__name__} on the real samples diverged to a loss of {loss} in epoch "
                    f"{epoch + 1}: lower SGDConfig(lr={job.pretraining.sgd.lr})."
                )
            forgotten += was_correct & ~correct
            was_correct = correct
        centers = class_means(module.eval(), job.real, torch.device(job.device), job.precision, on_rows)
    weights = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    return TrainedNetwork(weights, centers, forgotten)


def train_epochs(
    job: PretrainingJob, module: nn.Module, on_rows: Callable[[int], None] | None = None
) -> Iterator[tuple[float, Tensor]]:
    """Train a module in place, one epoch after another.

    Yields the loss of the last step of every epoch, and which samples were classified correctly just before they were
    trained on, (n,) bool on the CPU. `on_rows` is called with the number of samples of every part of a batch.
    """
    real, sgd, device = job.real, job.pretraining.sgd, torch.device(job.device)
    trainer = SGDTrainer(module.requires_grad_(False), sgd, real.num_classes, real.sample_shape, job.precision, on_rows)
    for epoch in range(require_resolved(job.pretraining.epochs)):
        trainer.set_lr(job.pretraining.lr_at(epoch))
        rng = RandomStreams(RandomStreams(job.seed).seed_for("epoch", epoch))
        index = sgd.batches(len(real), rng.torch("shuffle"))
        steps = run_steps(trainer, (real.batch(rows, device) for rows in index), rng)
        correct = torch.zeros(len(real), dtype=torch.bool)
        correct[torch.cat(index)] = torch.cat([hits for _, hits in steps]).cpu()
        yield float(steps[-1][0]), correct


def class_means(
    module: nn.Module,
    real: RealData,
    device: torch.device,
    precision: str = "fp32",
    on_rows: Callable[[int], None] | None = None,
) -> Tensor | None:
    """Mean embedding of the real samples of every class, (K, D) float32 on the CPU; None without an embedding."""
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
            if on_rows is not None:
                on_rows(len(rows))
    assert total is not None
    counts = real.labels.bincount(minlength=real.num_classes)
    return (total / counts[:, None]).float()
