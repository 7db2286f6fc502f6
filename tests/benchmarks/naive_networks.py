"""The networks of the naive loops, and what they learn between iterations: part of `naive.py`.

    New      random, for one or more iterations            Zhao and Bilen, WACV 2023; Wang et al., 2018
    Renewed  trained on synthetic or on real samples   Zhao, Mopuri and Bilen, ICLR 2021; Kim et al., ICML 2022
    Many     a queue in every stage of training        Zhao G. et al., CVPR 2023
    Judged   renewed and trained by their accuracies   Wang K. et al., CVPR 2022
    Adverse  finds samples of one code alike           Liu S. et al., NeurIPS 2022: `naive_critic.py`
    Given    trained beforehand: the run's own         MTT's experts, IID, DANCE, NCFM

Initial weights, batches and augmentations are drawn as the run draws them.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from naive_critic import Adverse
from naive_samples import Samples
from naive_students import Batches, Look, Networks, Student, built, everything, shuffled
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


def networks_of(pool: Pool, run: CondensationRun) -> Networks:
    """The networks of a pool, where the run starts.

    Raises:
        ValueError: for a network that looks at a whole batch, whose classes cannot go one after the other.
    """
    found: Networks = KINDS[type(pool)](pool, run)
    layers = found.network_at(0).module.modules()
    if any(isinstance(layer, _BatchNorm) and layer.training for layer in layers):
        raise ValueError("There is no naive loop for batch normalization over all classes. Use a network without.")
    return found


class New(Networks):
    """Random networks."""

    def __init__(self, pool: RandomInit, run: CondensationRun) -> None:
        self.pool, self.run, self.number = pool, run, -1

    def network_at(self, iteration: int) -> Look:
        number = iteration // self.pool.period if self.pool.period else 0
        if number != self.number:
            member = [self.pool.member] if self.pool.member else []
            seed = self.run.context.rng.seed_for("network", number, *member)
            self.number, self.module = number, built(self.pool, self.run, seed)
        return Look(self.module)


class Given(Networks):
    """What the run's own lender lends."""

    def __init__(self, pool: Pool, run: CondensationRun) -> None:
        self.pool_state = run.pool_states[pool]

    def network_at(self, iteration: int) -> Look:
        net = self.pool_state.network_at(iteration)
        accuracy = 0.0 if net.accuracy is None else float(net.accuracy)
        return Look(net.module, accuracy, net.target)


class Renewed(Networks):
    """A network for some iterations, trained after each of them but the last."""

    def __init__(self, pool: Any, run: CondensationRun) -> None:
        self.pool, self.run, self.period = pool, run, require_resolved(pool.period)
        self.student, self.normalized = Student(pool, run, 0), -1

    def network_at(self, iteration: int) -> Look:
        if iteration // self.period != self.student.number:
            self.student = Student(self.pool, self.run, iteration // self.period)
        if iteration != self.normalized:
            self.normalized = iteration
            freeze_batch_norm(self.student.module, self.run.context, iteration)
        return Look(self.student.module)

    def update(self, iteration: int, samples: Samples) -> None:
        if (iteration + 1) % self.period:
            rng = RandomStreams(self.run.context.rng.seed_for("learn", iteration))
            on_real = isinstance(self.pool, TrainedOnReal)
            self.student.update(self._real(rng) if on_real else self._synthetic(samples, rng), rng)

    def _synthetic(self, samples: Samples, rng: RandomStreams) -> Batches:
        x, y = everything(self.run, samples)
        for epoch in range(require_resolved(self.pool.epochs)):
            yield from shuffled(x, y, self.pool.sgd.batch_size, rng.torch("shuffle", epoch))

    def _real(self, rng: RandomStreams) -> Batches:
        real = self.run.context.real
        order = torch.randperm(len(real), generator=rng.torch("real"))[: require_resolved(self.pool.samples)]
        for rows in order.split(self.pool.sgd.batch_size):
            yield real.batch(rows, self.run.context.device)


class Many(Networks):
    """A queue of networks; some of them learn from real samples after each iteration."""

    def __init__(self, pool: Queue, run: CondensationRun) -> None:
        self.pool, self.run, self.pushed = pool, run, pool.initial_size
        self.students = [Student(pool, run, number) for number in range(pool.initial_size)]

    def network_at(self, iteration: int) -> Look:
        student = self.students[self._chosen("queue look", iteration, 1)[0]]
        return Look(student.module.eval(), student.hits / student.seen if student.seen else 0.0)

    def update(self, iteration: int, samples: Samples) -> None:
        for index in self._chosen("queue learn", iteration, min(self.pool.trained_per_iteration, len(self.students))):
            student = self.students[index]
            rng = RandomStreams(self.run.context.rng.seed_for("queue", iteration, student.number))
            student.update(self._batches(rng), rng)
        if (iteration + 1) % require_resolved(self.pool.interval) == 0:
            newest = Student(self.pool, self.run, self.pushed)
            self.students = [*self.students, newest][-self.pool.capacity :]
            self.pushed += 1

    def _chosen(self, purpose: str, iteration: int, count: int) -> list[int]:
        return self.run.context.rng.choice(purpose, iteration, 0, len(self.students), count).tolist()

    def _batches(self, rng: RandomStreams) -> Batches:
        real = self.run.context.real
        count = min(self.pool.sgd.batch_size, len(real))
        for step in range(require_resolved(self.pool.steps)):
            rows = rng.choice("real", step, 0, len(real), count)
            yield real.batch(rows, self.run.context.device)


class Judged(Networks):
    """A network that lives until its accuracies rest, and is trained until they move."""

    def __init__(self, pool: DynamicBilevel, run: CondensationRun) -> None:
        self.pool, self.run = pool, run
        self._renew(0)

    def _renew(self, number: int) -> None:
        self.student, self.lived, self.normalized = Student(self.pool, self.run, number), 0, -1
        self.measured: deque[float] = deque(maxlen=self.pool.window)

    def network_at(self, iteration: int) -> Look:
        if iteration != self.normalized:
            self.normalized = iteration
            freeze_batch_norm(self.student.module, self.run.context, iteration)
        return Look(self.student.module)

    def update(self, iteration: int, samples: Samples) -> None:
        rng = RandomStreams(self.run.context.rng.seed_for("bilevel", iteration))
        self.lived += 1
        self.measured.append(self._accuracy(rng, 0))
        if self.lived >= require_resolved(self.pool.period) or self._spread(self.measured, 1.0) < self.pool.outer:
            self._renew(self.student.number + 1)
            return
        measured: deque[float] = deque(maxlen=self.pool.window)
        (x, y), size = everything(self.run, samples), self.pool.sgd.batch_size
        for epoch in range(require_resolved(self.pool.epochs)):
            own = RandomStreams(rng.seed_for("epoch", epoch))
            self.student.update(shuffled(x, y, size, own.torch("shuffle", 0)), own)
            measured.append(self._accuracy(rng, epoch + 1))
            if self._spread(measured, 0.0) > self.pool.inner:
                return

    def _spread(self, measured: deque[float], unknown: float) -> float:
        """Largest minus smallest, once there are enough."""
        return max(measured) - min(measured) if len(measured) == self.pool.window else unknown

    @torch.no_grad()
    def _accuracy(self, rng: RandomStreams, number: int) -> float:
        real, hits, seen = self.run.context.real, 0, 0
        module = self.student.module
        learning = [part for part in module.modules() if part.training]
        module.eval()
        for label in range(real.num_classes):
            members = (real.labels == label).nonzero()[:, 0]
            count = min(self.pool.queries, len(members))
            rows = members[rng.choice("query", number, label, len(members), count)]
            x, y = real.batch(rows, self.run.context.device)
            hits, seen = hits + int((module(x).argmax(1) == y).sum()), seen + count
        for part in learning:
            part.training = True
        return hits / seen


KINDS: dict[type[Pool], Any] = {
    RandomInit: New,
    TrainedOnSynthetic: Renewed,
    TrainedOnReal: Renewed,
    Queue: Many,
    DynamicBilevel: Judged,
    Critic: Adverse,
    Pretrained: Given,
    Experts: Given,
    GivenWeights: Given,
}
