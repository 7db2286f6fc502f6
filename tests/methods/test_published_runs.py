"""A few iterations of DC, DM, IDC, IDM and M3D equal loops that follow the authors' code, line by line.

The loops share the initial samples and all random numbers with the run, and nothing else: settings are written here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from exam import start
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from condensed_data import recipes
from condensed_data.core import spec as specs
from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import Identity, SiameseAugment
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.recipe import Recipe
from condensed_data.networks import MLP, ConvNet, build

NET = ConvNet(width=8, depth=2, activation="swish")  # smooth: rounding moves no kink
CLASSES = 3


class Named(TensorDataset):
    """60 noisy copies of three prototypes, with class names."""

    def __init__(self, shape: tuple[int, ...], classes: list[str]) -> None:
        draw = torch.Generator().manual_seed(5)
        labels = torch.arange(60) % CLASSES
        prototypes = torch.rand(CLASSES, *shape, generator=draw)
        super().__init__((prototypes[labels] + 0.2 * torch.randn(60, *shape, generator=draw)).clamp(0, 1), labels)
        self.classes = classes


GRAY = Named((1, 12, 12), ["shirt", "coat", "bag"])
COLOR = Named((3, 8, 8), ["cat", "frog", "ship"])
DIGITS = Named((1, 12, 12), ["0", "1", "2"])


def with_fields(recipe: Recipe, **fields: Any) -> Recipe:
    """The recipe with these fields in every term that has them; two underscores stand for the dot."""
    terms = recipe.terms
    for path, value in fields.items():
        terms = tuple(specs.set_field(term, path.replace("__", "."), value) for term in terms)
    return replace(recipe, terms=terms)


def network(run: CondensationRun, spec: Any, number: int) -> nn.Module:
    real = run.context.real
    return build(spec, CLASSES, real.sample_shape, run.context.rng.seed_for("network", number))


def real_rows(run: CondensationRun, iteration: int, label: int, batch: int) -> Tensor:
    real = run.context.real
    members = (real.labels == label).nonzero()[:, 0]
    return real[members[run.context.rng.choice("real", iteration, label, len(members), batch)]]


def cells_of(grids: Tensor) -> Tensor:
    """The four cells of every grid (B, C, 12, 12), each upsampled: (4 B, C, 12, 12)."""
    corners = [grids[:, :, top : top + 6, left : left + 6] for top in (0, 6) for left in (0, 6)]
    return torch.cat([F.interpolate(corner, (12, 12), mode="bilinear") for corner in corners])


def of_class(label: int, rows: Tensor) -> Tensor:
    return torch.full((len(rows),), label)


def assert_same_path(run: CondensationRun, naive: Callable[[CondensationRun, Tensor], None], iterations: int) -> None:
    """The samples move as the naive loop moves them in place, to a thousandth of the largest step."""
    before = run.synthetic_data.learned["images"].detach().clone()
    images = before.clone().requires_grad_()
    naive(run, images)
    for _ in range(iterations):
        run.step()
    moved, expected = run.synthetic_data.learned["images"].detach() - before, images.detach() - before
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_dm_at_100_samples_per_class() -> None:
    def naive(run: CondensationRun, images: Tensor) -> None:
        optimizer = torch.optim.SGD([images], lr=10, momentum=0.5)
        for iteration in range(3):
            module, loss = network(run, NET, iteration), torch.zeros(())
            for label in range(CLASSES):
                real = module.embed(real_rows(run, iteration, label, 16)).detach()
                synthetic = module.embed(images[100 * label : 100 * (label + 1)])
                loss = loss + (real.mean(0) - synthetic.mean(0)).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    recipe = with_fields(recipes.dm(ipc=100, iterations=3, batch=16, network=NET), augment=Identity())
    assert_same_path(start(COLOR, recipe), naive, 3)


def test_dc_with_an_mlp() -> None:
    mlp = MLP(width=16)

    def distance(module: nn.Module, real: Tensor, synthetic: Tensor, label: int) -> Tensor:
        weights, total = [weight for weight in module.parameters() if weight.ndim > 1], torch.zeros(())
        truth = of_class(label, real), of_class(label, synthetic)
        wanted = torch.autograd.grad(F.cross_entropy(module(real), truth[0]), weights)
        found = torch.autograd.grad(F.cross_entropy(module(synthetic), truth[1]), weights, create_graph=True)
        for a, b in zip(wanted, found, strict=True):
            for one, other in zip(a, b, strict=True):
                total = total + 1 - (one * other).sum() / (one.norm() * other.norm() + 1e-6)
        return total

    def naive(run: CondensationRun, images: Tensor) -> None:
        optimizer = torch.optim.SGD([images], lr=0.01, momentum=0.5)
        module, truth = network(run, mlp, 0).requires_grad_(), torch.arange(CLASSES).repeat_interleave(10)
        learner = torch.optim.SGD(module.parameters(), lr=0.01)
        for iteration in range(3):
            pairs = [(real_rows(run, iteration, label, 16), images[10 * label : 10 * label + 10]) for label in range(3)]
            optimizer.zero_grad()
            torch.stack([distance(module, *pair, label) for label, pair in enumerate(pairs)]).sum().backward()
            optimizer.step()
            draws = RandomStreams(run.context.rng.seed_for("learn", iteration))
            for epoch in range(50):
                order = torch.randperm(30, generator=draws.torch("shuffle", epoch))
                learner.zero_grad()
                F.cross_entropy(module(images.detach()[order]), truth[order]).backward()
                learner.step()

    assert_same_path(start(GRAY, recipes.dc(ipc=10, iterations=3, batch=16, network=mlp)), naive, 3)


def test_m3d() -> None:
    """The Gaussian kernel is a sum over five widths, relative to the mean squared distance of two of all samples."""

    def naive(run: CondensationRun, images: Tensor) -> None:
        optimizer = torch.optim.SGD([images], lr=1, momentum=0.5)
        for iteration in range(3):
            module, loss = network(run, NET, iteration), torch.zeros(())
            for label in range(CLASSES):
                real = module.embed(real_rows(run, iteration, label, 16)).detach()
                rows = torch.cat((real, module.embed(cells_of(images[2 * label : 2 * label + 2]))))
                distances = (rows[:, None] - rows).square().sum(2)
                width = distances.detach().sum() / (24 * 23)
                kernel = torch.stack([torch.exp(-distances / (width * scale)) for scale in (0.25, 0.5, 1, 2, 4)]).sum(0)
                loss = loss + kernel[:16, :16].mean() - 2 * kernel[:16, 16:].mean() + kernel[16:, 16:].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    recipe = with_fields(recipes.m3d(ipc=2, iterations=3, batch=16, weight=1, network=NET), augment=Identity())
    assert_same_path(start(GRAY, recipe), naive, 3)


def test_idc_on_digits() -> None:
    """Nothing is erased or mixed, and the rate is that for 28 x 28 pixels."""

    def naive(run: CondensationRun, units: Tensor) -> None:
        real, draws = run.context.real, run.context.rng
        low, high = ((edge - real.space.mean) / real.space.std for edge in (DIGITS.tensors[0].min(), 1.0))
        optimizer = torch.optim.SGD([units], lr=1e-4 * (2 / 10) * (12 / 28) ** 2, momentum=0.5)
        for iteration in range(5):
            if iteration % 3 == 0:
                module = network(run, NET, iteration // 3).requires_grad_()
                learner = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
            weights = [weight for weight in module.parameters() if weight.ndim == 4]
            for label in range(CLASSES):
                applied = SiameseAugment(("crop",), ("color",)).draw(draws, iteration, [label], (1, 12, 12))
                sides = (
                    real_rows(run, iteration, label, 16),
                    low + (high - low) * cells_of(units[2 * label : 2 * label + 2]),
                )
                losses = []
                for side in sides:
                    y = of_class(label, side)
                    losses.append(F.cross_entropy(module(applied(Batch(side, y, (len(side),)))), y))
                wanted = torch.autograd.grad(losses[0], weights)
                found = torch.autograd.grad(losses[1], weights, create_graph=True)
                optimizer.zero_grad()
                sum((a - b).abs().sum() for a, b in zip(wanted, found, strict=True)).backward()
                optimizer.step()
                units.data.clamp_(0, 1)
            own = RandomStreams(draws.seed_for("learn", iteration))
            order = torch.randperm(60, generator=own.torch("real"))
            x, y = real[order], real.labels[order]
            augmented = SiameseAugment(("crop",), ("color",), per_sample=True).draw(own, 0, [0], (1, 12, 12))
            learner.zero_grad()
            F.cross_entropy(module(augmented(Batch(x, y, (60,)))), y).backward()
            learner.step()

    recipe = recipes.idc(ipc=2, iterations=5, batch=16, network=NET)
    assert_same_path(start(DIGITS, with_fields(recipe, pool__period=3)), naive, 5)


def test_idm_with_its_queue() -> None:
    """A network joins in iteration 0 and at every interval; accuracies start again at every evaluation."""
    interval, capacity, reset = 2, 5, 3

    def naive(run: CondensationRun, images: Tensor) -> None:
        optimizer, queue = torch.optim.SGD([images], lr=0.2, momentum=0.5), [Member(run, number) for number in range(3)]
        for iteration in range(8):
            if iteration and iteration % reset == 0:
                for member in queue:
                    member.right = member.seen = 0
            if iteration % interval == 0:
                queue = [*queue, Member(run, queue[-1].number + 1)][-capacity:]
            chosen = queue[int(run.context.rng.choice("queue look", iteration, 0, len(queue), 1))]
            for label in range(CLASSES):
                cells, rows = cells_of(images[2 * label : 2 * label + 2]), real_rows(run, iteration, label, 16)
                means = [chosen.module.embed(side).mean(0) for side in (rows, cells)]
                entropy = F.cross_entropy(chosen.module(cells), of_class(label, cells))
                optimizer.zero_grad()
                ((means[0].detach() - means[1]).square().sum() + 0.5 * chosen.percent * entropy).backward()
                optimizer.step()
            for index in run.context.rng.choice("queue learn", iteration, 0, len(queue), 2).tolist():
                queue[index].learn(run, iteration)

    recipe = recipes.idm(ipc=2, iterations=8, batch=16, network=NET)
    short = {"pool__interval": interval, "pool__capacity": capacity, "pool__reset": reset, "augment": Identity()}
    assert_same_path(start(GRAY, with_fields(recipe, **short)), naive, 8)


class Member:
    """One network of IDM's queue."""

    def __init__(self, run: CondensationRun, number: int) -> None:
        self.number, self.right, self.seen = number, 0, 0
        self.module = network(run, NET, number).requires_grad_()
        self.learner = torch.optim.SGD(self.module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    @property
    def percent(self) -> float:
        return 100 * self.right / self.seen if self.seen else 0.0

    def learn(self, run: CondensationRun, iteration: int) -> None:
        real, own = run.context.real, RandomStreams(run.context.rng.seed_for("queue", iteration, self.number))
        for step in range(10):
            chosen = own.choice("real", step, 0, 60, 60)
            logits = self.module(real[chosen])
            self.learner.zero_grad()
            F.cross_entropy(logits, real.labels[chosen]).backward()
            self.learner.step()
            self.right, self.seen = self.right + int((logits.argmax(1) == real.labels[chosen]).sum()), self.seen + 60
