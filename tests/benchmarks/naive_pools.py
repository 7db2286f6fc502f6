"""The networks of the naive loops, and their training between iterations: part of `naive.py`.

    RandomPool     random, for one or more iterations        Zhao and Bilen, WACV 2023; Wang et al., 2018
    InnerLoopPool  trained on synthetic or real samples      Zhao, Mopuri and Bilen, ICLR 2021; Kim et al., ICML 2022
    QueuePool      a queue of networks in training           Zhao G. et al., CVPR 2023
    BilevelPool    trained and replaced by their accuracies  Wang K. et al., CVPR 2022
    CriticPool     HaBa's critic, in `naive_critic.py`       Liu S. et al., NeurIPS 2022
    GivenPool      pretrained: the run's own                 MTT's experts, IID, DANCE, NCFM

Initial weights, batches and augmentations are drawn as the run draws them.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from naive_critic import CriticPool
from naive_samples import Samples
from naive_training import Batches, CurrentNetwork, NaivePool, TrainedNetwork, all_synthetic, build_network, shuffled
from torch.nn.modules.batchnorm import _BatchNorm

from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import require_resolved
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.base import Pool
from condensed_data.methods.pools import (
    Critic,
    DynamicBilevel,
    Experts,
    GivenWeights,
    Pretrained,
    Queue,
    RandomInit,
    TrainedOnReal,
    TrainedOnSynthetic,
)
from condensed_data.methods.pools.trained_network import freeze_batch_norm


def naive_pool(pool: Pool, run: CondensationRun) -> NaivePool:
    """The pool of naive loops for a pool of a run, in its initial state.

    Raises:
        ValueError: for batch normalization over the whole batch, whose classes cannot be computed one by one.
    """
    found: NaivePool = KINDS[type(pool)](pool, run)
    layers = found.network_at(0).module.modules()
    if any(isinstance(layer, _BatchNorm) and layer.training for layer in layers):
        raise ValueError("There is no naive loop for batch normalization over all classes. Use a network without it.")
    return found


class RandomPool(NaivePool):
    """Random networks."""

    def __init__(self, pool: RandomInit, run: CondensationRun) -> None:
        self.pool, self.run, self.number = pool, run, -1

    def network_at(self, iteration: int) -> CurrentNetwork:
        number = iteration // self.pool.period if self.pool.period else 0
        if number != self.number:
            member = [self.pool.member] if self.pool.member else []
            seed = self.run.context.rng.seed_for("network", number, *member)
            self.number, self.module = number, build_network(self.pool, self.run, seed)
        return CurrentNetwork(self.module)


class GivenPool(NaivePool):
    """The networks of the run's own pool."""

    def __init__(self, pool: Pool, run: CondensationRun) -> None:
        self.pool_state = run.pool_states[pool]

    def network_at(self, iteration: int) -> CurrentNetwork:
        net = self.pool_state.network_at(iteration)
        accuracy = 0.0 if net.accuracy is None else float(net.accuracy)
        return CurrentNetwork(net.module, accuracy, net.target)


class InnerLoopPool(NaivePool):
    """A network that serves several iterations and is trained after each but the last."""

    def __init__(self, pool: Any, run: CondensationRun) -> None:
        self.pool, self.run, self.period = pool, run, require_resolved(pool.period)
        self.trained, self.normalized = TrainedNetwork(pool, run, 0), -1

    def network_at(self, iteration: int) -> CurrentNetwork:
        if iteration // self.period != self.trained.number:
            self.trained = TrainedNetwork(self.pool, self.run, iteration // self.period)
        if iteration != self.normalized:
            self.normalized = iteration
            freeze_batch_norm(self.trained.module, self.run.context, iteration)
        return CurrentNetwork(self.trained.module)

    def update(self, iteration: int, samples: Samples) -> None:
        if (iteration + 1) % self.period:
            rng = RandomStreams(self.run.context.rng.seed_for("learn", iteration))
            on_real = isinstance(self.pool, TrainedOnReal)
            self.trained.update(self._real(rng) if on_real else self._synthetic(samples, rng), rng)

    def _synthetic(self, samples: Samples, rng: RandomStreams) -> Batches:
        x, y = all_synthetic(self.run, samples)
        for epoch in range(require_resolved(self.pool.epochs)):
            yield from shuffled(x, y, self.pool.sgd.batch_size, rng.torch("shuffle", epoch))

    def _real(self, rng: RandomStreams) -> Batches:
        real = self.run.context.real
        order = torch.randperm(len(real), generator=rng.torch("real"))[: require_resolved(self.pool.samples)]
        for rows in order.split(self.pool.sgd.batch_size):
            yield real.batch(rows, self.run.context.device)


class QueuePool(NaivePool):
    """A queue of networks; some of them are trained on real samples after each iteration."""

    def __init__(self, pool: Queue, run: CondensationRun) -> None:
        self.pool, self.run, self.pushed = pool, run, pool.initial_size
        self.members = [TrainedNetwork(pool, run, number) for number in range(pool.initial_size)]

    def network_at(self, iteration: int) -> CurrentNetwork:
        member = self.members[self._chosen("queue look", iteration, 1)[0]]
        return CurrentNetwork(member.module.eval(), member.hits / member.seen if member.seen else 0.0)

    def update(self, iteration: int, samples: Samples) -> None:
        for index in self._chosen("queue learn", iteration, min(self.pool.trained_per_iteration, len(self.members))):
            member = self.members[index]
            rng = RandomStreams(self.run.context.rng.seed_for("queue", iteration, member.number))
            member.update(self._batches(rng), rng)
        reset = require_resolved(self.pool.reset)
        if reset and (iteration + 1) % reset == 0:
            for member in self.members:
                member.hits = member.seen = 0
        if (iteration + 1) % require_resolved(self.pool.interval) == 0:
            newest = TrainedNetwork(self.pool, self.run, self.pushed)
            self.members = [*self.members, newest][-require_resolved(self.pool.capacity) :]
            self.pushed += 1

    def _chosen(self, purpose: str, iteration: int, count: int) -> list[int]:
        return self.run.context.rng.choice(purpose, iteration, 0, len(self.members), count).tolist()

    def _batches(self, rng: RandomStreams) -> Batches:
        real = self.run.context.real
        count = min(self.pool.sgd.batch_size, len(real))
        for step in range(require_resolved(self.pool.steps)):
            rows = rng.choice("real", step, 0, len(real), count)
            yield real.batch(rows, self.run.context.device)


class BilevelPool(NaivePool):
    """A network that is replaced when its accuracies stop changing, and is trained until they change."""

    def __init__(self, pool: DynamicBilevel, run: CondensationRun) -> None:
        self.pool, self.run = pool, run
        self._restart(0)

    def _restart(self, number: int) -> None:
        self.trained, self.age, self.normalized = TrainedNetwork(self.pool, self.run, number), 0, -1
        self.measured: deque[float] = deque(maxlen=self.pool.window)

    def network_at(self, iteration: int) -> CurrentNetwork:
        if iteration != self.normalized:
            self.normalized = iteration
            freeze_batch_norm(self.trained.module, self.run.context, iteration)
        return CurrentNetwork(self.trained.module)

    def update(self, iteration: int, samples: Samples) -> None:
        rng = RandomStreams(self.run.context.rng.seed_for("bilevel", iteration))
        self.age += 1
        self.measured.append(self._accuracy(rng, 0))
        if self.age >= require_resolved(self.pool.period) or self._range(self.measured, 1.0) < self.pool.outer:
            self._restart(self.trained.number + 1)
            return
        measured: deque[float] = deque(maxlen=self.pool.window)
        (x, y), size = all_synthetic(self.run, samples), self.pool.sgd.batch_size
        for epoch in range(require_resolved(self.pool.epochs)):
            own = RandomStreams(rng.seed_for("epoch", epoch))
            self.trained.update(shuffled(x, y, size, own.torch("shuffle", 0)), own)
            measured.append(self._accuracy(rng, epoch + 1))
            if self._range(measured, 0.0) > self.pool.inner:
                return

    def _range(self, measured: deque[float], unknown: float) -> float:
        """Largest minus smallest, or `unknown` if the window is not full."""
        return max(measured) - min(measured) if len(measured) == self.pool.window else unknown

    @torch.no_grad()
    def _accuracy(self, rng: RandomStreams, number: int) -> float:
        real, hits, seen = self.run.context.real, 0, 0
        module = self.trained.module
        training = [part for part in module.modules() if part.training]
        module.eval()
        for label in range(real.num_classes):
            members = (real.labels == label).nonzero()[:, 0]
            count = min(self.pool.queries, len(members))
            rows = members[rng.choice("query", number, label, len(members), count)]
            x, y = real.batch(rows, self.run.context.device)
            hits, seen = hits + int((module(x).argmax(1) == y).sum()), seen + count
        for part in training:
            part.training = True
        return hits / seen


KINDS: dict[type[Pool], Any] = {
    RandomInit: RandomPool,
    TrainedOnSynthetic: InnerLoopPool,
    TrainedOnReal: InnerLoopPool,
    Queue: QueuePool,
    DynamicBilevel: BilevelPool,
    Critic: CriticPool,
    Pretrained: GivenPool,
    Experts: GivenPool,
    GivenWeights: GivenPool,
}
