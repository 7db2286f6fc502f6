"""Every pool in the loop, with steps per iteration and per class: a resumed run equals an uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pool_data import NETWORK, context, through_a_file
from torch import Tensor

from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.base import Pool
from condensed_data.methods.objectives import Distribution
from condensed_data.methods.pools import DynamicBilevel, Pretrained, Queue, TrainedOnReal, TrainedOnSynthetic
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import Clusters, NearestToCentroids
from condensed_data.methods.synthetic import Pixels
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig

AUGMENTED = SGDConfig(0.05, 0.9, augment=SiameseAugment(DefaultDSAOps(), per_sample=True))
POOLS: dict[str, Pool] = {
    "on synthetic": TrainedOnSynthetic(NETWORK, 4, 2, AUGMENTED),
    "on synthetic, published loops": TrainedOnSynthetic(NETWORK),
    "batch normalization": TrainedOnSynthetic("convnet-w8-d2-bn", 4, 1),
    "on real": TrainedOnReal(NETWORK, 4, 20),
    "queue": Queue(NETWORK, interval=2, steps=2, capacity=4),
    "bilevel": DynamicBilevel(NETWORK, window=2, period=4, epochs=2, queries=5),
    "pretrained": Pretrained(NETWORK, Pretraining(1, 2)),
    "dance": Pretrained(NETWORK, Pretraining(1, 2), "dance"),
}


def make_recipe(pool: Pool, step: str, within: Any = None) -> Recipe:
    term = Term(Distribution(), pool, PerGroup(8, within=within), SiameseAugment(DefaultDSAOps()))
    recipe = Recipe("any", Pixels(), (term,), Optimizer(lr=0.1), iterations=6, ipc=2, step_per=step)
    return recipe.resolve((1, 8, 8), ["a", "b", "c"], samples=57)


def run(recipe: Recipe, iterations: int, state: dict[str, Any] | None = None) -> CondensationRun:
    current = CondensationRun(recipe, context())
    if state is not None:
        current.load_state_dict(state)
    while current.iteration < iterations:
        current.step()
    return current


def images(current: CondensationRun) -> Tensor:
    return current.synthetic_data.tensors()["images"]


@pytest.mark.parametrize("step", ["iteration", "class"])
@pytest.mark.parametrize("name", POOLS)
def test_resumed_runs_end_at_the_same_bits(name: str, step: str, tmp_path: Path, untouched_rng: None) -> None:
    recipe = make_recipe(POOLS[name], step)
    start, whole = images(run(recipe, 0)), images(run(recipe, 6))
    state = through_a_file(run(recipe, 3).state_dict(), tmp_path)
    assert torch.equal(images(run(recipe, 6, state)), whole)
    assert bool(torch.isfinite(whole).all())
    moved = (whole != start).flatten(1).any(1)
    assert bool(moved.all())


@pytest.mark.parametrize("within", [Clusters(3, "raw"), NearestToCentroids("raw", period=2)])
def test_runs_with_cluster_batches_resume_to_the_same_bits(within: Any, tmp_path: Path) -> None:
    recipe = make_recipe(POOLS["on synthetic"], "class", within)
    state = through_a_file(run(recipe, 3).state_dict(), tmp_path)
    assert torch.equal(images(run(recipe, 6, state)), images(run(recipe, 6)))
    assert not torch.equal(images(run(recipe, 6)), images(run(make_recipe(POOLS["on synthetic"], "class"), 6)))
