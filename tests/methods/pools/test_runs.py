"""Every pool inside the loop: a resumed run ends at the bits of an uninterrupted one, by iteration and by class."""

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
    "retrained": TrainedOnSynthetic(NETWORK, 4, 2, AUGMENTED),
    "retrained, published loops": TrainedOnSynthetic(NETWORK),
    "batch normalization": TrainedOnSynthetic("convnet-w8-d2-bn", 4, 1),
    "on real": TrainedOnReal(NETWORK, 4, 20),
    "queue": Queue(NETWORK, interval=2, steps=2, capacity=4),
    "bilevel": DynamicBilevel(NETWORK, window=2, period=4, epochs=2, queries=5),
    "pretrained": Pretrained(NETWORK, Pretraining(1, 2)),
    "dance": Pretrained(NETWORK, Pretraining(1, 2), "dance"),
}


def recipe(pool: Pool, step: str, within: Any = None) -> Recipe:
    term = Term(Distribution(), pool, PerGroup(8, within=within), SiameseAugment(DefaultDSAOps()))
    made = Recipe("any", Pixels(), (term,), Optimizer(lr=0.1), iterations=6, ipc=2, step_per=step)
    return made.resolve((1, 8, 8), ["a", "b", "c"], samples=57)


def run(made: Recipe, iterations: int, state: dict[str, Any] | None = None) -> CondensationRun:
    under_way = CondensationRun(made, context())
    if state is not None:
        under_way.load_state_dict(state)
    while under_way.iteration < iterations:
        under_way.step()
    return under_way


def images(under_way: CondensationRun) -> Tensor:
    return under_way.synthetic_data.tensors()["images"]


@pytest.mark.parametrize("step", ["iteration", "class"])
@pytest.mark.parametrize("name", POOLS)
def test_resumed_runs_end_at_the_same_bits(name: str, step: str, tmp_path: Path, untouched_rng: None) -> None:
    made = recipe(POOLS[name], step)
    start, whole = images(run(made, 0)), images(run(made, 6))
    state = through_a_file(run(made, 3).state_dict(), tmp_path)
    assert torch.equal(images(run(made, 6, state)), whole)
    assert bool(torch.isfinite(whole).all())
    moved = (whole != start).flatten(1).any(1)
    assert bool(moved.all())


@pytest.mark.parametrize("within", [Clusters(3, "raw"), NearestToCentroids("raw", period=2)])
def test_batches_within_clusters_resume_too(within: Any, tmp_path: Path) -> None:
    made = recipe(POOLS["retrained"], "class", within)
    state = through_a_file(run(made, 3).state_dict(), tmp_path)
    assert torch.equal(images(run(made, 6, state)), images(run(made, 6)))
    assert not torch.equal(images(run(made, 6)), images(run(recipe(POOLS["retrained"], "class"), 6)))
