"""Base of the naive pools, and training of their networks in fp32, one step per batch: part of `naive.py`.

Letters: B rows, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from naive_samples import Samples
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams, seeded_rng
from condensed_data.core.spec import require_resolved
from condensed_data.data.cutmix import mix
from condensed_data.engine.loop import CondensationRun
from condensed_data.training.sgd import SGDConfig

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass
class CurrentNetwork:
    """The network of one iteration.

    Attributes:
        module: (B, *sample) -> (B, K).
        accuracy: a fraction, if the pool measures it.
        target: weights of an expert, for `Trajectory`.
    """

    module: nn.Module
    accuracy: float = 0.0
    target: Mapping[str, Tensor] = field(default_factory=dict)


class NaivePool(ABC):
    """The networks of one pool."""

    @abstractmethod
    def network_at(self, iteration: int) -> CurrentNetwork:
        """The network of this iteration."""

    def update(self, iteration: int, samples: Samples) -> None:
        """Train or replace networks after the synthetic steps of `iteration`."""


def build_network(pool: Any, run: CondensationRun, seed: int) -> nn.Module:
    """A new network of a pool with frozen weights, on the run's device."""
    real = run.context.real
    spec = networks.network(pool.network)
    module = networks.build(spec, real.num_classes, real.sample_shape, seed)
    return module.to(run.context.device).requires_grad_(False)


class TrainedNetwork:
    """A network trained between iterations, and its accuracy on the training batches (`hits` of `seen`)."""

    def __init__(self, pool: Any, run: CondensationRun, number: int) -> None:
        self.number, self.module = number, build_network(pool, run, run.context.rng.seed_for("network", number))
        self.sgd: SGDConfig = pool.sgd
        self.classes = run.context.real.num_classes
        self.optimizer = torch.optim.SGD(
            self.module.parameters(),
            self.sgd.lr,
            self.sgd.momentum,
            weight_decay=self.sgd.weight_decay,
        )
        self.hits = self.seen = 0

    def update(self, batches: Batches, rng: RandomStreams) -> None:
        """One step on each batch."""
        frozen = [part for part in self.module.modules() if not part.training]
        self.module.train().requires_grad_(True)
        with seeded_rng(rng):
            for number, (x, y) in enumerate(batches):
                self._step(x, y, rng, number)
        self.module.requires_grad_(False)
        for part in frozen:
            part.training = False

    def _step(self, x: Tensor, y: Tensor, rng: RandomStreams, number: int) -> None:
        truth, shape, cutmix = y, tuple(x.shape[1:]), float(require_resolved(self.sgd.cutmix))
        x = self.sgd.augment.draw(rng, number, [0], shape)(Batch(x, y, (len(x),)))
        if cutmix:
            y = F.one_hot(y, self.classes).float()
            x, y = mix(x, y, rng, number, probability=cutmix)
        self.optimizer.zero_grad()
        logits = self.module(x)
        F.cross_entropy(logits, y).backward()
        self.optimizer.step()
        self.hits, self.seen = self.hits + int((logits.argmax(1) == truth).sum()), self.seen + len(x)


def all_synthetic(run: CondensationRun, samples: Samples) -> tuple[Tensor, Tensor]:
    """All synthetic samples and their classes."""
    labels = run.synthetic_data.labels
    with torch.no_grad():
        return samples.rows(torch.arange(len(labels))), labels.to(run.context.device)


def shuffled(x: Tensor, y: Tensor, size: int, order: torch.Generator) -> Batches:
    """Batches of one epoch."""
    for rows in torch.randperm(len(x), generator=order).split(size):
        yield x[rows], y[rows]
