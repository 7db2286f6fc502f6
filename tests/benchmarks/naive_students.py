"""Networks that look and networks that learn, one step on each batch in fp32: part of `naive.py`.

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
class Look:
    """A network as it looks in one iteration.

    Attributes:
        module: (B, *sample) -> (B, K).
        accuracy: a fraction, where it matters.
        target: weights of an expert, for `Trajectory`.
    """

    module: nn.Module
    accuracy: float = 0.0
    target: Mapping[str, Tensor] = field(default_factory=dict)


class Networks(ABC):
    """The networks of one pool."""

    @abstractmethod
    def network_at(self, iteration: int) -> Look:
        """The network of this iteration."""

    def update(self, iteration: int, samples: Samples) -> None:
        """What follows the synthetic steps of `iteration`."""


def built(pool: Any, run: CondensationRun, seed: int) -> nn.Module:
    """A new network of a pool, at rest, where the run computes."""
    real = run.context.real
    spec = networks.network(pool.network)
    module = networks.build(spec, real.num_classes, real.sample_shape, seed)
    return module.to(run.context.device).requires_grad_(False)


class Student:
    """A network that learns, and how many rows it classified correctly when they came."""

    def __init__(self, pool: Any, run: CondensationRun, number: int) -> None:
        self.number, self.module = number, built(pool, run, run.context.rng.seed_for("network", number))
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
        resting = [part for part in self.module.modules() if not part.training]
        self.module.train().requires_grad_(True)
        with seeded_rng(rng):
            for number, (x, y) in enumerate(batches):
                self._step(x, y, rng, number)
        self.module.requires_grad_(False)
        for part in resting:
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


def everything(run: CondensationRun, samples: Samples) -> tuple[Tensor, Tensor]:
    """All synthetic samples and their classes, to be trained on."""
    labels = run.synthetic_data.labels
    with torch.no_grad():
        return samples.rows(torch.arange(len(labels))), labels.to(run.context.device)


def shuffled(x: Tensor, y: Tensor, size: int, order: torch.Generator) -> Batches:
    """Batches of one epoch."""
    for rows in torch.randperm(len(x), generator=order).split(size):
        yield x[rows], y[rows]
