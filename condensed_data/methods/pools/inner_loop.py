"""Networks that learn between the iterations: on the synthetic samples (DC, DSA) or on real ones (IDC).

A network lives for `period` iterations. After each of them but the last it takes some steps; then a new random one
follows. Networks with batch normalization look with the statistics of one mixed real batch, as in DC's code;
there the running statistics move a tenth of the way to that batch, here they are taken from it.

Letters: B rows of a batch, N synthetic samples, n real samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from condensed_data.core.device import to_device
from condensed_data.core.rng import RandomStreams, seeded_rng
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.core.validation import check_count
from condensed_data.data.augment import SiameseAugment
from condensed_data.data.cutmix import SpatialCutMix
from condensed_data.methods.base import NetworkView, Pool, PoolState, SyntheticData
from condensed_data.methods.pools.module_slot import NetworkSlot
from condensed_data.networks.default import DefaultNetwork, check_network
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, SGDTrainer, run_steps

# Published in DC's code by samples per class: iterations of a network, epochs between two iterations.
_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
NORMALIZING_ROWS = 16  # real samples a class from which batch normalization takes its statistics

Batches = Iterator[tuple[Tensor, Tensor]]


def _loop(ipc: int, which: int) -> int:
    points = sorted(_LOOPS)
    return round(float(np.interp(ipc, points, [_LOOPS[point][which] for point in points])))


@dataclass(frozen=True)
class OuterLoopLength(DataDefault):
    """Iterations that a network lives in DC and DSA: the samples per class, at most 50."""

    def __call__(self, facts: DatasetInfo) -> int:
        return _loop(facts.ipc, 0)


@dataclass(frozen=True)
class NetworkLifetimes(DataDefault):
    """Iterations of DC and DSA: 1,000 networks that live `OuterLoopLength` iterations each; fewer networks for small sources.

    The published sets have 50,000 samples and more; a smaller source gets proportionally fewer networks.
    """

    networks: int = 1000
    samples: int = 50_000

    def __call__(self, facts: DatasetInfo) -> int:
        share = 1.0 if facts.samples is None else min(1.0, facts.samples / self.samples)
        return max(1, round(self.networks * share)) * OuterLoopLength()(facts)


@dataclass(frozen=True)
class InnerEpochs(DataDefault):
    """Epochs on the synthetic samples between two iterations in DC and DSA.

    The published 1, 50, 25, 20, 15 and 10 at 1, 10, 20, 30, 40 and 50 samples per class; between these points
    linear, and 10 above. For more than 50 samples per class the authors advise (outer, inner) = (50, 10) or
    (20, 25), whichever is better, and (100, 2) for DSA at 100: set both fields for these.
    """

    def __call__(self, facts: DatasetInfo) -> int:
        return _loop(facts.ipc, 1)


@dataclass(frozen=True)
class TrainedOnSynthetic(Pool):
    """Trained on the synthetic samples between iterations: Zhao, Mopuri and Bilen, ICLR 2021, algorithm 1.

    https://arxiv.org/abs/2006.05929. With `period` 1, as published for one sample per class, no network is ever
    trained.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        period: iterations that a network lives (the outer loop).
        epochs: over all synthetic samples after each iteration but a network's last (the inner loop).
        descent: its steps. DC does not augment them; DSA does, with `SiameseAugment(..., per_sample=True)`.

    Raises:
        ValueError: unless both numbers are positive.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    period: int | DataDefault = field(default_factory=OuterLoopLength)
    epochs: int | DataDefault = field(default_factory=InnerEpochs)
    sgd: SGDConfig = field(default_factory=SGDConfig)
    learns_from_samples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("TrainedOnSynthetic", "period", self.period)
        check_count("TrainedOnSynthetic", "epochs", self.epochs)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> PoolState:
        return _TrainedState(context, self.network, _whole(self.period), self.sgd, self._batches)

    def _batches(self, context: Context, synthetic_data: SyntheticData, rng: RandomStreams) -> Batches:
        return synthetic_epochs(synthetic_data, self.sgd, _whole(self.epochs), rng, context.device)


@dataclass(frozen=True)
class TrainedOnReal(Pool):
    """Trained on real samples between iterations: Kim et al. (IDC), ICML 2022, https://arxiv.org/abs/2205.14959.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        period: iterations that a network lives; 100 as published.
        samples: random real samples that it is trained on after each iteration but its last; 500 for MNIST,
            Fashion-MNIST and SVHN, 2,000 for CIFAR.
        descent: the steps. Published: SGD at 0.01 with momentum 0.9 and weight decay 5e-4 on batches of 64,
            color and translation, CutMix in half of the steps.

    Raises:
        ValueError: unless both numbers are positive.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    period: int | DataDefault = 100
    samples: int | DataDefault = 500
    sgd: SGDConfig = field(
        default=SGDConfig(
            0.01, 0.9, 5e-4, 64, SiameseAugment(("crop",), ("color",), per_sample=True), SpatialCutMix()
        )
    )

    def __post_init__(self) -> None:
        check_count("TrainedOnReal", "period", self.period)
        check_count("TrainedOnReal", "samples", self.samples)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> PoolState:
        return _TrainedState(context, self.network, _whole(self.period), self.sgd, self._batches)

    def _batches(self, context: Context, synthetic_data: SyntheticData, rng: RandomStreams) -> Batches:
        real = context.real
        count = min(_whole(self.samples), len(real))
        chosen = torch.randperm(len(real), generator=rng.torch("real"))[:count]
        return real_batches(context, chosen.split(self.sgd.batch_size))


def _whole(value: int | DataDefault) -> int:
    if isinstance(value, DataDefault):
        raise TypeError(f"{value} is a rule: resolve the recipe first.")
    return value


def synthetic_epochs(
    synthetic_data: SyntheticData, sgd: SGDConfig, epochs: int, rng: RandomStreams, device: torch.device
) -> Batches:
    """Batches (B, *sample), (B,) or (B, K) of `epochs` passes over all synthetic samples."""
    everything = torch.arange(len(synthetic_data.labels))
    with torch.no_grad():
        x, y = synthetic_data.decode(everything), synthetic_data.targets(everything).detach()
    for epoch in range(epochs):
        for rows in sgd.batches(len(x), rng.torch("shuffle", epoch)):
            rows = to_device(rows, device)
            yield x[rows], y[rows]


def real_batches(context: Context, indices: tuple[Tensor, ...]) -> Batches:
    """Batches (B, *sample), (B,) of the real samples with these indices."""
    for rows in indices:
        yield context.real.batch(rows, context.device)


class _TrainedState(PoolState):
    def __init__(
        self,
        context: Context,
        network: Any,
        period: int,
        sgd: SGDConfig,
        batches: Callable[[Context, SyntheticData, RandomStreams], Batches],
    ) -> None:
        self.context, self.period, self.sgd, self.batches = context, period, sgd, batches
        self.slot = NetworkSlot(network, context)
        self.number: int | None = None
        self.normalized: int | None = None
        self.descender = self._sgd_trainer()

    def network_at(self, iteration: int) -> NetworkView:
        number = iteration // self.period
        if number != self.number:
            self.number = number
            self.slot.renew(self.context.rng.seed_for("network", number))
            self.descender = self._sgd_trainer()
        if iteration != self.normalized:
            self.normalized = iteration
            normalize(self.slot.module, self.context, iteration)
        return self.slot.net

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        if (iteration + 1) % self.period:
            rng = RandomStreams(self.context.rng.seed_for("learn", iteration))
            run_steps(self.descender, self.batches(self.context, synthetic_data, rng), rng)

    def state_dict(self) -> dict[str, Any]:
        if self.number is None:
            return {}
        return {
            "number": self.number,
            "network": self.slot.module.state_dict(),
            "optimizer": self.descender.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            self.number, self.normalized = state["number"], None
            self.slot.module.load_state_dict(state["network"])
            self.descender = self._sgd_trainer()
            self.descender.optimizer.load_state_dict(state["optimizer"])

    def _sgd_trainer(self) -> SGDTrainer:
        real = self.context.real
        return SGDTrainer(
            self.slot.module, self.sgd, real.num_classes, real.sample_shape, self.context.precision
        )


def normalize(module: nn.Module, context: Context, iteration: int) -> None:
    """Give every batch normalization the statistics of one mixed real batch, and freeze them while looking."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return
    real, momenta = context.real, [layer.momentum for layer in layers]
    rows = [
        members[context.rng.choice("normalise", iteration, group, len(members), NORMALIZING_ROWS)]
        for group, members in enumerate(real.members)
    ]
    module.train()
    for layer in layers:
        layer.momentum = 1.0
    with torch.no_grad(), seeded_rng(RandomStreams(context.rng.seed_for("normalise", iteration))):
        module(to_device(real[torch.cat(rows)], context.device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
