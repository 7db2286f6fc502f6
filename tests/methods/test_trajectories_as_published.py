"""Whole short runs of `mtt` and of `haba` on it against plain loops that follow the authors' code.

MTT: Cazenavette et al., CVPR 2022. Every step of the student takes the next samples of a permutation from its end,
augmented by one operation for all of them with parameters of their own (DSA without "Siamese").
HaBa: Liu S. et al., NeurIPS 2022. A step decodes its bases by one random hallucinator; the constraint and the critic
see augmented pairs; the step size is clipped at 0.001 after every iteration; the critic learns last.
Random numbers are those of the run: the loops say what is done with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pool_data import context, small_real
from torch import Tensor
from torch.func import functional_call

from condensed_data import networks, recipes
from condensed_data.core.rng import RandomStreams
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.recipe import Recipe
from condensed_data.networks import ConvNet

SIDE, STEPS, ITERATIONS = 8, 4, 3
OPS = ("color", "crop", "cutout", "flip", "scale", "rotate")  # of unnamed color images: flip is left out
PER_CLASS = 3
SMALL: dict[str, Any] = {
    "iterations": ITERATIONS,
    "steps": STEPS,
    "experts": 2,
    "epochs": 3,
    "ahead": 2,
    "network": ConvNet(width=6, depth=1),
    "whitening": "none",
}


def started(recipe: Recipe, ipc: int) -> CondensationRun:
    where = context(small_real((3, SIDE, SIDE)), ipc=ipc)
    return CondensationRun(recipe.resolve((3, SIDE, SIDE), ["", "", ""], ipc), where)


def augmented(x: Tensor, rng: RandomStreams, iteration: int, block: int) -> Tensor:
    """One operation for all rows, which has its own parameters for every row."""
    ops = [op for op in OPS if op != "flip"]
    op = ops[int(float(rng.uniform("augment op", iteration, [block], 1)) * len(ops))]
    numbers = rng.uniform("augment", iteration, [block], len(x) * 11).view(len(x), 11)
    return torch.stack([one_augmented(row, op, u.tolist()) for row, u in zip(x, numbers, strict=True)])


def one_augmented(x: Tensor, op: str, u: list[float]) -> Tensor:
    if op == "color":
        x = x + (u[0] - 0.5)
        gray = x.mean(0, keepdim=True)
        x = (x - gray) * 2 * u[1] + gray
        return (x - x.mean()) * (u[2] + 0.5) + x.mean()
    if op == "crop":  # by at most one of eight pixels
        right, down = int(u[7] * 3) - 1, int(u[8] * 3) - 1
        return F.pad(x, (1, 1, 1, 1))[:, 1 + down : 1 + down + SIDE, 1 + right : 1 + right + SIDE]
    if op == "cutout":  # a square of half the side around a random center
        mask = torch.ones(SIDE, SIDE)
        top, left = (int(u[at] * (SIDE + 1)) - SIDE // 4 for at in (9, 10))
        mask[max(top, 0) : max(top + SIDE // 2, 0), max(left, 0) : max(left + SIDE // 2, 0)] = 0
        return x * mask
    theta = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    if op == "scale":
        theta[0, 0], theta[1, 1] = (1 / 1.2 + u[at] * (1.2 - 1 / 1.2) for at in (3, 4))
    else:
        angle = torch.tensor((u[6] * 2 - 1) * 15).deg2rad()
        theta[:, :2] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    grid = F.affine_grid(theta[None], [1, 3, SIDE, SIDE], align_corners=False)
    return F.grid_sample(x[None], grid, align_corners=False)[0]


def student_loss(run: CondensationRun, batches: list[tuple[Tensor, Tensor]], step_size: Tensor) -> Tensor:
    """The distance of the student's weights after the batches to the expert's, relative to what the expert moved."""
    rng, iteration = run.context.rng, run.iteration
    net = run.pool_states[run.recipe.terms[0].pool].network_at(iteration)
    start = {name: weight.detach().clone() for name, weight in net.module.named_parameters()}
    weights = {name: weight.clone().requires_grad_() for name, weight in start.items()}
    for number, (x, y) in enumerate(batches):
        x = augmented(x, rng, iteration, number)
        loss = F.cross_entropy(functional_call(net.module, weights, (x,)), y)
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {
            name: weight - step_size * slope for (name, weight), slope in zip(weights.items(), slopes, strict=True)
        }
    return squares(weights, net.target) / squares(start, net.target)


def squares(weights: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
    return sum(((weight - target[name]) ** 2).sum() for name, weight in weights.items())  # type: ignore[return-value]


def chunks_of(rng: RandomStreams, iteration: int, count: int, size: int) -> list[Tensor]:
    """The rows of each step: permutations are split, and used from their ends."""
    chunks: list[Tensor] = []
    steps, permutations = [], 0
    for _ in range(STEPS):
        if not chunks:
            order = torch.from_numpy(rng.numpy("order", iteration, permutations).permutation(count))
            chunks, permutations = list(order.split(size)), permutations + 1
        steps.append(chunks.pop())
    return steps


@pytest.mark.parametrize("batch", [9, 5])
def test_a_run_of_mtt_is_that_of_the_authors(batch: int) -> None:
    recipe = recipes.mtt(PER_CLASS, lr=20.0, batch=batch, **SMALL).set(optimizer__rates=(("step_sizes", 1e-6),))
    ours, drawn = started(recipe, PER_CLASS), started(recipe, PER_CLASS)
    data: Any = drawn.synthetic_data
    images, labels = data.decode(torch.arange(9)).detach().clone().requires_grad_(), data.labels
    step_size = data.step_sizes.detach()[0].clone().requires_grad_()
    optimizers = [torch.optim.SGD([images], 20.0, 0.5), torch.optim.SGD([step_size], 1e-6, 0.5)]
    for iteration in range(ITERATIONS):
        drawn.parts.iteration = iteration
        rows = chunks_of(drawn.context.rng, iteration, 9, batch)
        loss = student_loss(drawn, [(images[index], labels[index]) for index in rows], step_size)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        assert ours.step().item() == pytest.approx(loss.item(), rel=1e-4)
    torch.testing.assert_close(ours.synthetic_data.decode(torch.arange(9)), images, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(ours.synthetic_data.step_sizes, step_size[None], atol=1e-7, rtol=1e-4)


class Hallucinators:
    """The bases (B, C, H, W) and the weights of the hallucinators, as leaves."""

    def __init__(self, data: Any) -> None:
        inner = data.inner
        self.bases, self.decoders = (inner.learned[name].detach().clone() for name in ("codes", "decoders"))
        self.labels, self.shapes = data.labels[:: len(self.decoders)], inner.shapes
        self.bases.requires_grad_()
        self.decoders.requires_grad_()

    def decode(self, rows: Tensor, which: int) -> Tensor:
        values = self.decoders[which].split([shape.numel() for shape in self.shapes.values()])
        weights = {name: value.view(shape) for (name, shape), value in zip(self.shapes.items(), values, strict=True)}
        maps = F.conv2d(self.bases[rows], weights["conv.weight"], weights["conv.bias"])
        maps = weights["scale"] * maps + weights["shift"]
        return F.conv_transpose2d(maps, weights["conv_transpose.weight"], weights["conv_transpose.bias"])

    def pairs(self, rng: RandomStreams, iteration: int) -> Tensor:
        """All bases by one hallucinator, and then by another."""
        one, other = rng.numpy("decoders of a pair", iteration).permutation(len(self.decoders))[:2].tolist()
        rows = torch.arange(len(self.bases))
        return augmented(torch.cat([self.decode(rows, one), self.decode(rows, other)]), rng, iteration, 0)


def critic_loss(module: Any, x: Tensor, y: Tensor) -> Tensor:
    """Classification, plus 0.1 times the distance of pairs, plus 0.1 times the supervised contrast of all rows."""
    features = networks.embed_of(module)(x)
    first, second = features.chunk(2)
    distance = ((1 - F.cosine_similarity(first, second)) / 2).mean()
    z = F.normalize(features)
    scores = (z @ z.T / 0.07).exp() * (1 - torch.eye(len(z)))
    same = (y[:, None] == y) & ~torch.eye(len(z), dtype=torch.bool)
    log_p = (scores / scores.sum(1, keepdim=True) + torch.eye(len(z))).log()
    contrast = -((log_p * same).sum(1) / same.sum(1)).mean()
    return F.cross_entropy(module(x), y) + 0.1 * distance + 0.1 * contrast


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])  # of the authors, and the default
def test_a_run_of_haba_is_that_of_the_authors(optimizer: str) -> None:
    lr, step_lr = 0.5 if optimizer == "sgd" else 0.01, 1e-3
    recipe = recipes.haba("mtt", bases=2, hallucinators=3, optimizer=optimizer, lr=lr, **SMALL)
    recipe = recipe.set(optimizer__rates=(("step_sizes", step_lr),), synthetic__lr=2e-3)
    ours, drawn = started(recipe, 12), started(recipe, 12)
    rng, naive = drawn.context.rng, Hallucinators(drawn.synthetic_data)
    step_size: Any = drawn.synthetic_data.step_sizes
    step_size = step_size.detach().clone().requires_grad_()
    parts: Any = [{"params": [naive.bases, naive.decoders]}, {"params": [step_size], "lr": step_lr}]
    stepper = torch.optim.SGD(parts, lr, 0.95) if optimizer == "sgd" else torch.optim.Adam(parts, lr)
    critic = drawn.pool_states[drawn.recipe.terms[1].pool].network_at(0).module.requires_grad_(True)
    critic_optimizer = torch.optim.SGD(critic.parameters(), 0.001, 0.9)
    for iteration in range(ITERATIONS):
        drawn.parts.iteration = iteration
        which = rng.numpy("decoder of a step", iteration).integers(3, size=STEPS).tolist()
        rows = chunks_of(rng, iteration, 6, 6)
        batches = [(naive.decode(index, one), naive.labels[index]) for index, one in zip(rows, which, strict=True)]
        first, second = networks.embed_of(critic)(naive.pairs(rng, iteration)).chunk(2)
        similarity = ((F.cosine_similarity(first, second) + 1) / 2).mean()
        loss = student_loss(drawn, batches, step_size) + 0.1 * similarity
        stepper.zero_grad()
        loss.backward()
        stepper.step()
        step_size.data.clamp_(min=1e-3)
        critic_optimizer.zero_grad()
        with torch.no_grad():
            x = naive.pairs(RandomStreams(rng.seed_for("critic step", iteration)), iteration)
        critic_loss(critic, x, naive.labels.repeat(2)).backward()
        critic_optimizer.step()
        assert ours.step().item() == pytest.approx(loss.item(), rel=1e-3)
    learned = ours.synthetic_data.learned
    torch.testing.assert_close(learned["codes"], naive.bases, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(learned["decoders"], naive.decoders, atol=1e-3, rtol=1e-3)
    assert learned["step_sizes"].item() == pytest.approx(step_size.item(), rel=1e-3)
    assert step_size.item() == pytest.approx(1e-3)  # clipped
    module = ours.pool_states[ours.recipe.terms[1].pool].network_at(0).module
    for name, weight in critic.named_parameters():
        torch.testing.assert_close(module.get_parameter(name).detach(), weight.detach(), atol=1e-4, rtol=1e-3)
