"""Networks that are trained between iterations, on the synthetic samples (DC, DSA) or on real ones (IDC).

A network is used for `period` iterations. After each but the last it is trained for some steps; then a new random
network replaces it. Batch normalization uses the frozen statistics of one batch of real samples of all classes, see
`trained_network.freeze_batch_norm`.

Letters: B rows of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from condensed_data.core.batch import NetworkView
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_count
from condensed_data.data.augment import SiameseAugment
from condensed_data.data.cutmix import SpatialCutMix
from condensed_data.methods.base import PoolState, SyntheticData
from condensed_data.methods.pools.network_slot import NetworkPool
from condensed_data.methods.pools.trained_network import Batches, TrainedNetworkState, real_batches, synthetic_epochs
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, run_steps


@dataclass(frozen=True)
class TrainedOnSynthetic(NetworkPool):
    """Networks trained on the synthetic samples between iterations: Zhao, Mopuri and Bilen, ICLR 2021, algorithm 1.

    https://arxiv.org/abs/2006.05929. With `period` 1, as published for one sample per class, no network is ever
    trained. The defaults are those published for 10 samples per class; recipe `dc` has the others.

    Args:
        period: iterations per network (the outer loop).
        epochs: over all synthetic samples after each iteration but a network's last (the inner loop).
        sgd: how it is trained. DC does not augment; DSA does, with `SiameseAugment(..., per_sample=True)`.
    """

    period: int | DataDefault = 10
    epochs: int | DataDefault = 50
    sgd: SGDConfig = field(default_factory=SGDConfig)
    trains_on_synthetic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("TrainedOnSynthetic", "period", self.period, or_default=True)
        check_count("TrainedOnSynthetic", "epochs", self.epochs, or_default=True)

    def start(self, context: Context) -> PoolState:
        return _InnerLoopState(self, context)

    def batches(self, context: Context, synthetic_data: SyntheticData, rng: RandomStreams) -> Batches:
        """The mini-batches of one inner loop: (B, *sample), (B,) or (B, K)."""
        return synthetic_epochs(synthetic_data, self.sgd, require_resolved(self.epochs), rng, context.device)


@dataclass(frozen=True)
class TrainedOnReal(NetworkPool):
    """Networks trained on real samples between iterations: Kim et al. (IDC), ICML 2022.

    https://arxiv.org/abs/2205.14959.

    Args:
        period: iterations per network; 100 as published.
        samples: random real samples that it is trained on after each iteration but its last; the authors give 500 or
            2,000, and their code takes whole batches, that is, 512 or 2,048.
        sgd: how it is trained. Published: SGD at 0.01 with momentum 0.9 and weight decay 5e-4 on batches of 64,
            color and translation, CutMix in half of the steps.
    """

    period: int | DataDefault = 100
    samples: int | DataDefault = 512
    sgd: SGDConfig = field(
        default=SGDConfig(0.01, 0.9, 5e-4, 64, SiameseAugment(("crop",), ("color",), per_sample=True), SpatialCutMix())
    )

    def __post_init__(self) -> None:
        check_count("TrainedOnReal", "period", self.period, or_default=True)
        check_count("TrainedOnReal", "samples", self.samples, or_default=True)

    def start(self, context: Context) -> PoolState:
        return _InnerLoopState(self, context)

    def batches(self, context: Context, synthetic_data: SyntheticData, rng: RandomStreams) -> Batches:
        """The mini-batches of one inner loop: (B, *sample), (B,)."""
        count = min(require_resolved(self.samples), len(context.real))
        chosen = torch.randperm(len(context.real), generator=rng.torch("real"))[:count]
        return real_batches(context, chosen.split(self.sgd.batch_size))


class _InnerLoopState(TrainedNetworkState):
    def __init__(self, spec: TrainedOnSynthetic | TrainedOnReal, context: Context) -> None:
        super().__init__(context, spec.network, spec.sgd)
        self.spec, self.period = spec, require_resolved(spec.period)

    def network_at(self, iteration: int) -> NetworkView:
        index = iteration // self.period
        if index != self.network_index:
            self._start_network(index)
        return self._normalized(iteration)

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        if (iteration + 1) % self.period:
            rng = RandomStreams(self.context.rng.seed_for("learn", iteration))
            run_steps(self.trainer, self.spec.batches(self.context, synthetic_data, rng), rng)
