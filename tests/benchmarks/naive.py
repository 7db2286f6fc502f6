"""Sweeps as loops over classes in fp32, written from the equations: what `sweep.py` compares with.

For every class its real and its synthetic samples, with the same augmentation as in the package, go through the network
one after the other, whole batches at once; the real side without gradients where the method needs none; one backward
and one step for all classes, or for each class where the method steps so. Nothing is compiled, shared between classes
or computed in lower precision. Numbers (batch, rates, period) and draws of samples, augmentations and initial weights
are those of the run, so that the first sweeps of both must agree.

    dm          ||mean f(real) - mean f(synthetic)||^2                   Zhao and Bilen, WACV 2023, equation 4
    dc, dsa     distance of the weight gradients, row by row             Zhao, Mopuri and Bilen, ICLR 2021, algorithm 1
    idc, idc_i  the same with absolute or squared differences            Kim et al., ICML 2022, algorithm 1
    idm         dm + weight * accuracy * cross-entropy                   Zhao G. et al., CVPR 2023
    cafe        layers aligned + real samples told apart, matching only  Wang et al., CVPR 2022
    m3d         maximum mean discrepancy, Gaussian kernels               Zhang H. et al., AAAI 2024
    dance       dm + cross-entropy, by trained networks                  Zhang H. et al., IJCAI 2024
    iid         dm or idm + covariances + centres by trained networks    Deng et al., CVPR 2024
    mtt         a student's weights against an expert's                  `naive_trajectory.py`

Networks that are trained beforehand are the run's own.

Letters: B rows of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from naive_losses import KNOWN, class_loss
from naive_trajectory import NaiveTrajectory
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.augment import Augment, Identity
from condensed_data.evaluation.training import Training, mix
from condensed_data.networks import build, embed_of
from condensed_data.objectives import (
    Discrimination,
    Trajectory,
)
from condensed_data.parts import Batch
from condensed_data.pools import Pretrained, Queue, Retrained, RetrainedOnReal
from condensed_data.run import Run
from condensed_data.spec import concrete
from condensed_data.synthetic.pixels import value_range


def naive_of(run: Run) -> Naive | NaiveTrajectory:
    """The naive loop of a run's method; see `Naive`."""
    mtt = any(isinstance(term.objective, Trajectory) for term in run.recipe.terms)
    return NaiveTrajectory(run) if mtt else Naive(run)


@dataclass
class Member:
    """A network, how it learns, and how many rows it classified correctly when they came."""

    network: nn.Module
    optimizer: Any
    hits: int = 0
    seen: int = 0

    @property
    def accuracy(self) -> float:
        return self.hits / self.seen if self.seen else 0.0


class Naive:
    """The same method as a run's, on its data, from where it starts.

    Args:
        run: in fp32, before its first step; nothing of it is changed.

    Raises:
        ValueError: for an objective that has no loop here.
    """

    def __init__(self, run: Run) -> None:
        recipe = run.recipe
        unknown = [
            type(term.objective).__name__ for term in recipe.terms if not isinstance(term.objective, KNOWN)
        ]
        if unknown or not recipe.terms:
            raise ValueError(
                f"There is no naive loop for {recipe.name} ({', '.join(unknown) or 'it learns nothing'})."
            )
        self.recipe, self.real, self.term = recipe, run.context.real, recipe.terms[0]
        self.streams, self.lenders = run.context.streams, run.lenders
        if len(run.synthesis.learned) != 1:
            raise ValueError(
                f"There is no naive loop for samples made of {', '.join(run.synthesis.learned)}."
            )
        (images,) = run.synthesis.learned.values()
        self.images = images.detach().clone().requires_grad_()
        self.factor = getattr(recipe.synthetic, "factor", 1)
        self.labels = run.synthesis.labels[:: len(run.synthesis.labels) // len(images)]
        pixels = getattr(recipe.synthetic, "inner", recipe.synthetic)
        self.range = value_range(self.real) if pixels.clamp else None
        options: Any = recipe.optimizer
        self.optimizer = torch.optim.SGD([self.images], options.lr, options.momentum)
        self.sweep, self.period = 0, getattr(self.term.pool, "period", 1)
        pool: Any = self.term.pool
        count = pool.start_with if isinstance(pool, Queue) else 1
        self.members = [self._member(number) for number in range(count)]
        self.looks = self.members[0]

    def _member(self, number: int) -> Member:
        pool: Any = self.term.pool
        seed, shape = self.streams.child("network", number), self.real.sample_shape
        network = build(networks.network(pool.network), self.real.num_classes, shape, seed).requires_grad_(
            False
        )
        return Member(network, pool.descent.optimizer(network) if hasattr(pool, "descent") else None)

    @property
    def network(self) -> nn.Module:
        return self.looks.network

    def matching(self) -> None:
        """The synthetic steps of one sweep."""
        queue = isinstance(self.term.pool, Queue)
        if not queue and self.sweep % self.period == 0:
            self.members = [self._member(self.sweep // self.period)]
        self.looks = self.members[
            int(self.streams.choose("queue look", self.sweep, 0, len(self.members), 1)) if queue else 0
        ]
        classes = list(range(self.real.num_classes))
        for some in [[label] for label in classes] if self.recipe.step == "class" else [classes]:
            loss = torch.stack([self._class_loss(label) for label in some]).sum()
            if any(isinstance(term.objective, Discrimination) for term in self.recipe.terms):
                loss = loss + self._discrimination()
            self.optimizer.zero_grad()
            (self.images.grad,) = torch.autograd.grad(loss, [self.images])
            self.optimizer.step()
            if self.range is not None:
                self.images.data.clamp_(0, 1)

    def _stored(self) -> Tensor:
        """The stored samples, which IDC learns as values in [0, 1] of the range of the real ones."""
        if self.range is None:
            return self.images
        low, high = (bound.view(1, -1, *[1] * (self.images.ndim - 2)) for bound in self.range)
        return low + (high - low) * self.images

    def _class_loss(self, label: int) -> Tensor:
        loss = torch.zeros(())
        real, synthetic = self._real(label), self._synthetic(label)
        for term in self.recipe.terms:
            network = self._looking(term)
            cost = class_loss(term.objective, network, real, synthetic, label, self.looks.accuracy)
            loss = loss + concrete(term.weight) * cost
        return loss

    def _looking(self, term: Any) -> nn.Module:
        if isinstance(term.pool, Pretrained):
            return self.lenders[term.pool].lend(self.sweep).module
        return self.network

    def _real(self, label: int) -> Tensor:
        members, sampler = self.real.members[label], self.term.sampler
        count = min(sampler.batch, len(members))  # type: ignore[attr-defined]
        rows = members[self.streams.choose("real", self.sweep, label, len(members), count)]
        return self._augmented(self.real[rows], label)

    def _synthetic(self, label: int) -> Tensor:
        stored = self._stored()[self.labels == label]
        return self._augmented(self._cells(stored), label)

    def _cells(self, stored: Tensor) -> Tensor:
        """Every cell of the grids, enlarged, one after the other."""
        if self.factor == 1:
            return stored
        height, width = (side // self.factor for side in stored.shape[2:])
        cells = [
            stored[:, :, i * height : (i + 1) * height, j * width : (j + 1) * width]
            for i in range(self.factor)
            for j in range(self.factor)
        ]
        size = tuple(stored.shape[2:])
        large = [F.interpolate(cell, size, mode="bilinear", align_corners=False) for cell in cells]
        return torch.stack(large, 1).flatten(0, 1)

    def _augmented(self, rows: Tensor, label: int) -> Tensor:
        applied = self.term.augment.draw(self.streams, self.sweep, [label], self.real.sample_shape)
        return applied(Batch(rows, torch.full((len(rows),), label), (len(rows),)))

    def _discrimination(self) -> Tensor:
        embed, classes = embed_of(self.network), range(self.real.num_classes)
        centres = torch.stack([embed(self._synthetic(label)).mean(0) for label in classes])
        losses = []
        for label in classes:
            with torch.no_grad():
                real = embed(self._real(label))
            truth = torch.full((len(real),), label)
            losses.append(F.cross_entropy(real @ centres.T, truth, reduction="sum"))
        return 0.01 * torch.stack(losses).sum()

    def learning(self) -> None:
        """What networks learn after the synthetic steps; the next sweep follows."""
        pool: Any = self.term.pool
        last = (self.sweep + 1) % self.period == 0
        if isinstance(pool, Queue):
            for member in self.members[: pool.fetched]:
                self._train(member, self._drawn(pool.descent.batch_size, pool.steps), pool.descent)
        elif isinstance(pool, Retrained | RetrainedOnReal) and not last:
            batches = self._epochs(pool) if isinstance(pool, Retrained) else self._subset(pool)
            self._train(self.members[0], batches, pool.descent)
        self.sweep += 1

    def _train(self, member: Member, batches: Iterator[tuple[Tensor, Tensor]], descent: Any) -> None:
        network, optimizer = member.network.requires_grad_(True), member.optimizer
        mixing = Training(cutmix=float(descent.cutmix), augment=Identity())
        augment: Augment = descent.augment
        for number, (x, y) in enumerate(batches):
            applied = augment.draw(self.streams, number, [0], self.real.sample_shape)
            x = applied(Batch(x, y, (len(x),)))
            if descent.cutmix:
                y = F.one_hot(y, self.real.num_classes).float()
                x, y = mix(mixing, x, y, self.streams, number)
            optimizer.zero_grad()
            logits = network(x)
            F.cross_entropy(logits, y).backward()
            optimizer.step()
            truth = y if y.ndim == 1 else y.argmax(1)
            member.hits, member.seen = (
                member.hits + int((logits.argmax(1) == truth).sum()),
                member.seen + len(x),
            )
        network.requires_grad_(False)

    def _epochs(self, pool: Any) -> Iterator[tuple[Tensor, Tensor]]:
        images = self._cells(self._stored().detach())
        labels = self.labels.repeat_interleave(len(images) // len(self.labels))
        for epoch in range(pool.epochs):
            order = torch.randperm(len(images), generator=self.streams.torch("order", self.sweep, epoch))
            for rows in order.split(pool.descent.batch_size):
                yield images[rows], labels[rows]

    def _subset(self, pool: Any) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.real), generator=self.streams.torch("subset", self.sweep))[
            : pool.samples
        ]
        for rows in order.split(pool.descent.batch_size):
            yield self.real[rows], self.real.labels[rows]

    def _drawn(self, batch: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(steps):
            rows = self.streams.choose("drawn", self.sweep, step, len(self.real), min(batch, len(self.real)))
            yield self.real[rows], self.real.labels[rows]
