"""BDM equals a loop written after the procedure of its paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from imagenet_weights import first_stage, saved_weights
from pool_data import NETWORK, context, small_real
from torch import Tensor

from condensed_data import recipes
from condensed_data.data.augment import Identity
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.samplers.clustering import Clusters, kmeans
from condensed_data.training.context import Context

K, BATCH, IPC, ITERATIONS = 3, 8, 2, 4


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return saved_weights(tmp_path)


@pytest.fixture
def ctx() -> Context:
    return context(small_real((3, 32, 32)), ipc=IPC)


def bdm(**options: Any) -> Recipe:
    recipe = recipes.bdm("dm", IPC, k=K, network=NETWORK, batch=BATCH, iterations=ITERATIONS, **options)
    return replace(recipe, terms=tuple(replace(term, augment=Identity()) for term in recipe.terms))


def maps_of(module: Any, ctx: Context, members: Tensor) -> Tensor:
    maps = torch.cat([first_stage(module, ctx.real[members[i : i + 1]]) for i in range(len(members))])
    assert maps.shape == (len(members), 64, 8, 8)
    return maps.flatten(1)


def test_lloyd_on_whole_feature_maps_is_at_rest_at_the_clusters(module: Any, ctx: Context) -> None:
    for members, clusters in zip(ctx.real.members, Clusters(K).partition(ctx), strict=True):
        means = [maps_of(module, ctx, cluster).double().mean(0) for cluster in clusters]
        assert len(means) == K
        assert sorted(torch.cat(clusters).tolist()) == sorted(members.tolist())
        for number, cluster in enumerate(clusters):
            for row in maps_of(module, ctx, cluster).double():
                distances = [float((row - mean).square().sum()) for mean in means]
                assert distances.index(min(distances)) == number


def test_a_run_equals_the_papers_loop(module: Any, ctx: Context) -> None:
    """Batches of one cluster of one class, drawn by size; the samples of a small cluster are repeated evenly."""
    run = CondensationRun(bdm().resolve(ctx.real.sample_shape, ctx.real.class_names), ctx)
    (term,) = run.recipe.terms
    images = run.synthetic_data.learned["images"].detach().clone().requires_grad_()
    velocity, rng, sizes = torch.zeros_like(images), ctx.rng, set()
    clusters = []
    for label, members in enumerate(ctx.real.members):
        labels, _ = kmeans(maps_of(module, ctx, members), K, rng.seed_for("clusters", label))
        clusters.append([members[labels == number] for number in range(K)])
    for iteration in range(ITERATIONS):
        network = run.pool_states[term.pool].network_at(iteration).module
        total = torch.zeros(())
        for label, members in enumerate(ctx.real.members):
            chances = [len(cluster) / len(members) for cluster in clusters[label]]
            cluster = clusters[label][int(rng.numpy("cluster", iteration, label).choice(K, p=chances))]
            rows, count = cluster.tolist(), min(BATCH, len(members))
            extra = cluster[rng.choice("real", iteration, label, len(rows), count % len(rows))].tolist()
            batch = torch.tensor(rows * (count // len(rows)) + extra)
            sizes.add((len(batch), len(rows) < count))
            with torch.no_grad():
                target = network.embed(ctx.real[batch]).mean(0)
            own = network.embed(images[label * IPC : (label + 1) * IPC]).mean(0)
            total = total + (target - own).square().sum()
        (gradient,) = torch.autograd.grad(total, [images])
        run.step()
        velocity = 0.5 * velocity + gradient
        images = (images - velocity).detach().requires_grad_()
    torch.testing.assert_close(run.synthetic_data.learned["images"], images, rtol=1e-4, atol=1e-5)
    assert {(BATCH, True), (BATCH, False)} <= sizes


@pytest.mark.parametrize("features", ["imagenet", "trained"])
def test_spatial_means_and_equal_weights_are_one_argument_away(features: str) -> None:
    within = bdm(features=features, means=True, weights="uniform").terms[0].sampler.within
    assert (within.features.extent, within.weights) == (1, "uniform")
    published = bdm(features=features).terms[0].sampler.within
    assert (published.features.extent, published.weights) == ({"imagenet": None, "trained": 8}[features], "size")
