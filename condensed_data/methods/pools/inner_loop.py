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

from condensed_data.core.device import sent
from condensed_data.core.rng import Streams, seeded
from condensed_data.core.spec import Facts, Rule
from condensed_data.data.augment import Siamese
from condensed_data.methods.base import Context, Lender, Net, Pool, Synthesis
from condensed_data.methods.pools.module_slot import Loan, UsualNetwork, check_network
from condensed_data.training.protocol import SpatialCutMix
from condensed_data.training.sgd import Descender, Descent, check_count, run_steps

# Published in DC's code by samples per class: iterations of a network, epochs between two iterations.
_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
NORMALIZING_ROWS = 16  # real samples a class from which batch normalization takes its statistics

Batches = Iterator[tuple[Tensor, Tensor]]


def _loop(ipc: int, which: int) -> int:
    points = sorted(_LOOPS)
    return round(float(np.interp(ipc, points, [_LOOPS[point][which] for point in points])))


@dataclass(frozen=True)
class OuterLoops(Rule):
    """Iterations that a network lives in DC and DSA: the samples per class, at most 50."""

    def __call__(self, facts: Facts) -> int:
        return _loop(facts.ipc, 0)


@dataclass(frozen=True)
class NetworksOfIterations(Rule):
    """Iterations of DC and DSA: 1,000 networks that live `OuterLoops` iterations each; fewer networks for small sources.

    The published sets have 50,000 samples and more; a smaller source gets proportionally fewer networks.
    """

    networks: int = 1000
    samples: int = 50_000

    def __call__(self, facts: Facts) -> int:
        share = 1.0 if facts.samples is None else min(1.0, facts.samples / self.samples)
        return max(1, round(self.networks * share)) * OuterLoops()(facts)


@dataclass(frozen=True)
class InnerEpochs(Rule):
    """Epochs on the synthetic samples between two iterations in DC and DSA.

    The published 1, 50, 25, 20, 15 and 10 at 1, 10, 20, 30, 40 and 50 samples per class; between these points
    linear, and 10 above. For more than 50 samples per class the authors advise (outer, inner) = (50, 10) or
    (20, 25), whichever is better, and (100, 2) for DSA at 100: set both fields for these.
    """

    def __call__(self, facts: Facts) -> int:
        return _loop(facts.ipc, 1)


@dataclass(frozen=True)
class Retrained(Pool):
    """Trained on the synthetic samples between iterations: Zhao, Mopuri and Bilen, ICLR 2021, algorithm 1.

    https://arxiv.org/abs/2006.05929. With `period` 1, as published for one sample per class, no network is ever
    trained.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        period: iterations that a network lives (the outer loop).
        epochs: over all synthetic samples after each iteration but a network's last (the inner loop).
        descent: its steps. DC does not augment them; DSA does, with `Siamese(..., per_sample=True)`.

    Raises:
        ValueError: unless both numbers are positive.
    """

    network: str | Callable[..., nn.Module] | Rule = field(default_factory=UsualNetwork)
    period: int | Rule = field(default_factory=OuterLoops)
    epochs: int | Rule = field(default_factory=InnerEpochs)
    descent: Descent = field(default_factory=Descent)
    learns_from_samples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_count("Retrained", "period", self.period)
        check_count("Retrained", "epochs", self.epochs)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> Lender:
        return _Retrained(context, self.network, _whole(self.period), self.descent, self._batches)

    def _batches(self, context: Context, synthesis: Synthesis, streams: Streams) -> Batches:
        return synthetic_epochs(synthesis, self.descent, _whole(self.epochs), streams, context.device)


@dataclass(frozen=True)
class RetrainedOnReal(Pool):
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

    network: str | Callable[..., nn.Module] | Rule = field(default_factory=UsualNetwork)
    period: int | Rule = 100
    samples: int | Rule = 500
    descent: Descent = field(
        default=Descent(0.01, 0.9, 5e-4, 64, Siamese(("crop",), ("color",), per_sample=True), SpatialCutMix())
    )

    def __post_init__(self) -> None:
        check_count("RetrainedOnReal", "period", self.period)
        check_count("RetrainedOnReal", "samples", self.samples)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> Lender:
        return _Retrained(context, self.network, _whole(self.period), self.descent, self._batches)

    def _batches(self, context: Context, synthesis: Synthesis, streams: Streams) -> Batches:
        real = context.real
        count = min(_whole(self.samples), len(real))
        chosen = torch.randperm(len(real), generator=streams.torch("real"))[:count]
        return real_batches(context, chosen.split(self.descent.batch_size))


def _whole(value: int | Rule) -> int:
    if isinstance(value, Rule):
        raise TypeError(f"{value} is a rule: resolve the recipe first.")
    return value


def synthetic_epochs(
    synthesis: Synthesis, descent: Descent, epochs: int, streams: Streams, device: torch.device
) -> Batches:
    """Batches (B, *sample), (B,) or (B, K) of `epochs` passes over all synthetic samples."""
    everything = torch.arange(len(synthesis.labels))
    with torch.no_grad():
        x, y = synthesis.decode(everything), synthesis.targets(everything).detach()
    for epoch in range(epochs):
        for rows in descent.batches(len(x), streams.torch("shuffle", epoch)):
            rows = sent(rows, device)
            yield x[rows], y[rows]


def real_batches(context: Context, indices: tuple[Tensor, ...]) -> Batches:
    """Batches (B, *sample), (B,) of the real samples with these indices."""
    for rows in indices:
        yield context.real.batch(rows, context.device)


class _Retrained(Lender):
    def __init__(
        self,
        context: Context,
        network: Any,
        period: int,
        descent: Descent,
        batches: Callable[[Context, Synthesis, Streams], Batches],
    ) -> None:
        self.context, self.period, self.descent, self.batches = context, period, descent, batches
        self.loan = Loan(network, context)
        self.number: int | None = None
        self.normalized: int | None = None
        self.descender = self._descender()

    def lend(self, iteration: int) -> Net:
        number = iteration // self.period
        if number != self.number:
            self.number = number
            self.loan.renew(self.context.streams.child("network", number))
            self.descender = self._descender()
        if iteration != self.normalized:
            self.normalized = iteration
            normalize(self.loan.module, self.context, iteration)
        return self.loan.net

    def learn(self, iteration: int, synthesis: Synthesis) -> None:
        if (iteration + 1) % self.period:
            streams = Streams(self.context.streams.child("learn", iteration))
            run_steps(self.descender, self.batches(self.context, synthesis, streams), streams)

    def state_dict(self) -> dict[str, Any]:
        if self.number is None:
            return {}
        return {
            "number": self.number,
            "network": self.loan.module.state_dict(),
            "optimizer": self.descender.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            self.number, self.normalized = state["number"], None
            self.loan.module.load_state_dict(state["network"])
            self.descender = self._descender()
            self.descender.optimizer.load_state_dict(state["optimizer"])

    def _descender(self) -> Descender:
        real = self.context.real
        return Descender(
            self.loan.module, self.descent, real.num_classes, real.sample_shape, self.context.precision
        )


def normalize(module: nn.Module, context: Context, iteration: int) -> None:
    """Give every batch normalization the statistics of one mixed real batch, and freeze them while looking."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return
    real, momenta = context.real, [layer.momentum for layer in layers]
    rows = [
        members[context.streams.choose("normalise", iteration, group, len(members), NORMALIZING_ROWS)]
        for group, members in enumerate(real.members)
    ]
    module.train()
    for layer in layers:
        layer.momentum = 1.0
    with torch.no_grad(), seeded(Streams(context.streams.child("normalise", iteration))):
        module(sent(real[torch.cat(rows)], context.device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
