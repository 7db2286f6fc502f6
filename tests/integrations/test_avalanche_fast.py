"""The default recipe of a memory initializes few samples at centroids and many at real samples."""

from __future__ import annotations

import pytest
import torch

from condensed_data.core.spec import DatasetInfo
from condensed_data.methods.centroids import Centroids
from condensed_data_avalanche import fast
from condensed_data_avalanche.condenser import condense
from condensed_data_avalanche.memory_recipe import FEW_SAMPLES, AutoInit, AutoLearningRate, memory_recipe


@pytest.mark.parametrize("kept", [FEW_SAMPLES, FEW_SAMPLES + 1])
def test_many_samples_are_initialized_at_real_ones(kept: int) -> None:
    draw = torch.Generator().manual_seed(0)
    sources = [torch.randn(80, 1, 6, 6, generator=draw) for _ in range(2)]
    recipe = memory_recipe(fast(iterations=1, lr=1e-9), 1)
    found = condense(sources, [kept, kept], recipe, 1, 0, torch.device("cpu"), "fp32")
    for rows, real in zip(found, sources, strict=True):
        nearest = torch.cdist(rows.flatten(1), real.flatten(1)).min(1).values
        near_real = nearest < 0.05
        assert bool(near_real.all()) == (kept > FEW_SAMPLES), nearest


def test_the_learning_rate_depends_on_the_initialization() -> None:
    info = DatasetInfo((1, 8, 8), ("a", "b"), FEW_SAMPLES)
    assert (
        AutoLearningRate()(info),
        AutoLearningRate()(DatasetInfo((1, 8, 8), ("a", "b"), FEW_SAMPLES + 1)),
    ) == (
        1.0,
        0.2,
    )
    assert fast().synthetic.init == AutoInit()
    assert fast().optimizer.lr == AutoLearningRate()
    assert fast(init=Centroids()).optimizer.lr == 1.0
    assert fast(lr=0.5).optimizer.lr == 0.5
