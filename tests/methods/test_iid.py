"""IID on DM equals a loop written after the authors' procedure, and both forms of centralization pull equally."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pool_data import NETWORK, context, small_real
from torch import Tensor

from condensed_data import recipes
from condensed_data.data.augment import Identity
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.objectives import Centralization
from condensed_data.methods.recipe import Recipe
from condensed_data.networks import ConvNet
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig

EXTRACTOR = ConvNet(width=4, depth=1)
IPC, ITERATIONS = 3, 4


def iid(centralization: Centralization | None = None, base: str = "dm") -> Recipe:
    pretrain = Pretraining(1, 2, SGDConfig(0.05, 0.9, batch_size=16))
    options: dict[str, Any] = {"network": NETWORK, "batch": 8, "iterations": ITERATIONS}
    recipe = recipes.iid(base, IPC, centralization, extractor=EXTRACTOR, pretrain=pretrain, **options)
    return replace(recipe, terms=tuple(replace(term, augment=Identity()) for term in recipe.terms))


def run_of(recipe: Recipe) -> CondensationRun:
    real = small_real()
    return CondensationRun(recipe.resolve(real.sample_shape, real.class_names), context(real, ipc=IPC))


def covariance(maps: Tensor) -> Tensor:
    """The mean over samples of X X^T of centered maps X (d, l); one sample after the other."""
    rows = maps.flatten(2)
    rows = rows - rows.mean(0)
    return sum((row @ row.T for row in rows), torch.zeros(())) / len(rows)


def class_loss(run: CondensationRun, iteration: int, label: int, synthetic: Tensor) -> Tensor:
    """The loss of a class with the constants of the authors' code on DM."""
    matching, _, centralizing = run.recipe.terms
    index = run.sampler_states[matching.sampler].draw(iteration, [label]).real
    network = run.pool_states[matching.pool].network_at(iteration).module
    extractor = run.pool_states[centralizing.pool].network_at(iteration).module
    with torch.no_grad():
        maps = network.feature_maps(run.context.real[index])[-1]
        target, related = maps.flatten(1).mean(0), covariance(maps)
    found = network.feature_maps(synthetic)[-1]
    loss = (target - found.flatten(1).mean(0)).square().sum()
    loss = loss + 0.01 * (related - covariance(found)).square().sum()
    embedded = extractor.embed(synthetic)
    center = embedded.mean(0)
    for row in embedded:
        loss = loss + 0.05 * (row - center).square().sum()
    return loss


def test_a_run_equals_the_authors_loop() -> None:
    run, naive = run_of(iid()), run_of(iid())
    images = run.synthetic_data.learned["images"].detach().clone().requires_grad_()
    velocity = torch.zeros_like(images)
    for iteration in range(ITERATIONS):
        run.step()
        total = torch.zeros(())
        for label in range(3):
            total = total + class_loss(naive, iteration, label, images[label * IPC : (label + 1) * IPC])
        (gradient,) = torch.autograd.grad(total, [images])
        velocity = 0.5 * velocity + gradient
        images = (images - velocity).detach().requires_grad_()  # a learning rate of 1
    learned, start = run.synthetic_data.learned["images"], run_of(iid()).synthetic_data.learned["images"]
    torch.testing.assert_close(learned, images, rtol=1e-4, atol=1e-5)
    without = iid().set(**{"terms.2.weight": 0.0})
    assert (learned - start).norm() > 0.1
    other = run_of(without)
    for _ in range(ITERATIONS):
        other.step()
    assert (other.synthetic_data.learned["images"] - images).abs().max() > 1e-3  # the term acts


@pytest.mark.parametrize(("base", "weight"), [("dm", 0.05), ("idm", 0.01)])
@pytest.mark.parametrize("alpha", [0.02, 0.3])
def test_both_forms_pull_equally_at_a_squared_distance_of_3(base: str, weight: float, alpha: float) -> None:
    linear, exponential = (iid(form, base).terms[-1] for form in (None, Centralization(alpha, form="exponential")))
    assert linear.weight == weight
    step = 1e-6

    def cost(square: float) -> float:
        return exponential.weight * (math.exp(alpha * square) - 1)

    assert (cost(3 + step) - cost(3 - step)) / (2 * step) == pytest.approx(weight, rel=1e-5)
