"""Batches from one cluster or spread over all clusters, and the features that are clustered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from imagenet_weights import first_stage, saved_weights
from pool_data import NETWORK, context, small_real
from sources import real as real_of
from torch import Tensor

from condensed_data import networks
from condensed_data.core.spec import DatasetInfo, from_json, resolve, set_field, to_json
from condensed_data.core.spec_text import parse_value
from condensed_data.methods.base import SamplerState
from condensed_data.methods.coresets import Noise
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import Clusters, NearestToCentroids, kmeans, representatives
from condensed_data.methods.synthetic import Pixels
from condensed_data.training import features
from condensed_data.training.context import Context
from condensed_data.training.features import (
    FeatureExtractor,
    ImageNet,
    Raw,
    Stage,
    StageNetwork,
    Trained,
    enlarge,
    pool,
    stage_extractor,
)
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trained_networks import trained_networks

ASKED = Pretraining(1, 1, SGDConfig(0.05, 0.9, batch_size=16))
SIZES = (12, 6, 3)  # of the clumps of every class


def clumped(seed: int = 0) -> Context:
    """Two classes of three distant clumps each, of 12, 6 and 3 vectors; clump = i // 21 * 3 + 0, 1 or 2."""
    clump = torch.arange(3).repeat_interleave(torch.tensor(SIZES)).repeat(2)
    rows = torch.eye(3)[clump] * 30 + torch.randn(42, 3, generator=torch.Generator().manual_seed(1))
    return context(real_of(rows, torch.arange(42) // 21), seed=seed)


def clump_of(index: int) -> int:
    place = index % 21
    return 0 if place < 12 else 1 if place < 18 else 2


def sampler_state(sampler: PerGroup, ctx: Context) -> SamplerState:
    return sampler.start(ctx, Pixels(Noise()).start(ctx))


def test_clusters_partition_every_group() -> None:
    ctx = clumped()
    parts = Clusters(3, "raw").partition(ctx)
    assert len(parts) == 2
    for group, clusters in enumerate(parts):
        assert sorted(len(cluster) for cluster in clusters) == sorted(SIZES)
        assert sorted(torch.cat(clusters).tolist()) == ctx.real.members[group].tolist()
        for cluster in clusters:
            assert len({clump_of(index) for index in cluster.tolist()}) == 1


@pytest.mark.parametrize("weights", ["uniform", "size"])
def test_a_batch_is_of_one_cluster_of_its_group(weights: str) -> None:
    ctx = clumped()
    sampler = sampler_state(PerGroup(8, within=Clusters(3, "raw", weights)), ctx)
    counts = torch.zeros(3)
    for iteration in range(600):
        draw = sampler.draw(iteration, [0, 1])
        assert draw.real_sizes == (8, 8)
        for group, rows in enumerate(draw.real.split(8)):
            clumps = {clump_of(index) for index in rows.tolist()}
            assert len(clumps) == 1
            assert set(ctx.real.groups[rows].tolist()) == {group}
            (clump,) = clumps
            counts[clump] += 1
            repeats = rows.bincount()[rows.unique()]
            assert set(repeats.tolist()) <= {8 // SIZES[clump], 8 // SIZES[clump] + 1}  # as even as it can be
    expected = torch.ones(3) / 3 if weights == "uniform" else torch.tensor(SIZES) / 21
    assert float((counts / 1200 - expected).abs().max()) < 0.05


def test_batches_by_the_size_of_clusters_keep_the_expectation_of_the_group() -> None:
    ctx = clumped()
    sampler = sampler_state(PerGroup(8, within=Clusters(3, "raw")), ctx)
    rows = torch.cat([sampler.draw(iteration, [0]).real for iteration in range(800)])
    shares = rows.bincount(minlength=42)[:21] / len(rows)
    assert float((shares - 1 / 21).abs().max()) < 0.015


def test_draws_depend_on_seed_iteration_and_group_alone() -> None:
    sampler = PerGroup(5, within=Clusters(3, "raw"))
    first, again, other = (sampler_state(sampler, clumped(seed)) for seed in (0, 0, 1))
    together = first.draw(7, [0, 1]).real
    assert torch.equal(together, again.draw(7, [0, 1]).real)
    assert torch.equal(together[5:], again.draw(7, [1]).real)
    assert any(not torch.equal(first.draw(s, [0]).real, other.draw(s, [0]).real) for s in range(5))
    assert first.state_dict() == {}


def test_small_groups_and_equal_samples_have_fewer_clusters() -> None:
    equal = real_of(torch.cat([torch.ones(9, 2), torch.eye(2), torch.eye(2)]), torch.tensor([0] * 9 + [1] * 4))
    ctx = context(equal)
    assert [len(clusters) for clusters in Clusters(20, "raw").partition(ctx)] == [1, 2]
    draw = sampler_state(PerGroup(6, within=Clusters(20, "raw")), ctx).draw(0, [0, 1])
    assert draw.real_sizes == (6, 4)


def test_nearest_takes_one_sample_of_every_clump_in_each_period() -> None:
    ctx = clumped()
    sampler = sampler_state(PerGroup(3, within=NearestToCentroids("raw", period=4)), ctx)
    draws = [sampler.draw(iteration, [0, 1]) for iteration in range(8)]
    for draw in draws:
        assert {clump_of(index) for index in draw.real[:3].tolist()} == {0, 1, 2}
        assert draw.real_sizes == (3, 3)
    assert all(torch.equal(draws[0].real, draw.real) for draw in draws[1:4])
    wide = sampler_state(PerGroup(7, within=NearestToCentroids("raw", period=1)), ctx)
    batches = [wide.draw(iteration, [0]).real for iteration in range(6)]
    assert all(len(batch.unique()) == 7 for batch in batches)
    assert len({tuple(sorted(batch.tolist())) for batch in batches}) > 1
    assert sampler_state(PerGroup(99, within=NearestToCentroids("raw")), ctx).draw(0, [0]).real_sizes == (21,)
    again = sampler_state(PerGroup(7, within=NearestToCentroids("raw", period=1)), clumped())
    assert torch.equal(again.draw(5, [0]).real, batches[5])  # a resumed run has not seen the iterations before


def test_k_means_equals_lloyd_on_its_own_result() -> None:
    rows = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    labels, centroids = kmeans(rows, 4, seed=2**62)
    assert torch.equal(torch.cdist(rows, centroids).argmin(1), labels)
    for label in range(4):
        torch.testing.assert_close(rows[labels == label].mean(0), centroids[label], rtol=1e-3, atol=1e-3)
    chosen = representatives(rows, 4, seed=2**62)
    for label, index in enumerate(chosen.tolist()):
        distances = (rows - centroids[label]).square().sum(1)
        assert distances[labels == label].min() == distances[index]
    assert representatives(torch.ones(5, 2), 3, 0).tolist() == [0, 1, 2]


def test_features_of_a_trained_network_by_layer() -> None:
    ctx = context()
    (network,) = trained_networks(ctx, NETWORK, ASKED)
    module = networks.build(NETWORK, 3, (1, 8, 8), 0)
    module.load_state_dict(network.weights)
    index = torch.tensor([4, 9, 30])
    with torch.no_grad():
        maps, embedding = module.eval().feature_maps(ctx.real[index]), module.embed(ctx.real[index])
    found = {
        layer: FeatureExtractor(Trained(NETWORK, ASKED, layer), ctx)(index) for layer in (None, 1, 2, "blocks.0.0")
    }
    torch.testing.assert_close(found[None], embedding)
    torch.testing.assert_close(found[1], maps[0].mean((2, 3)))
    torch.testing.assert_close(found[2], maps[1].mean((2, 3)))
    assert found["blocks.0.0"].shape == (3, 8)
    flat = FeatureExtractor(Trained(NETWORK, ASKED, 2, extent=None), ctx)(index)
    torch.testing.assert_close(flat, maps[1].flatten(1))
    assert torch.equal(FeatureExtractor(Raw(), ctx)(index), ctx.real[index].flatten(1))


def test_missing_layers_are_rejected_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "trained_networks", None)
    with pytest.raises(ValueError, match=r"Trained\(layer=9\) does not exist: the network has 3 feature maps"):
        Trained(NETWORK, ASKED, layer=9).start(context())
    with pytest.raises(ValueError, match="no layers 'head'"):
        Trained(NETWORK, ASKED, layer="head").start(context())
    with pytest.raises(ValueError, match=r"Trained\(layer=0\) must be at least 1"):
        Trained(layer=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_imagenet_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, untouched_rng: None) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    module = saved_weights(tmp_path)
    ctx, index = context(small_real((channels, 8, 12))), torch.tensor([0, 5])
    found = FeatureExtractor(ImageNet(layer=2, side=32), ctx)(index)
    x = enlarge(ctx.real[index], 32)
    assert x.shape == (2, 3, 32, 48)
    with torch.no_grad():
        expected = module.layer2(first_stage(module, x)).mean((2, 3))
    torch.testing.assert_close(found, expected)
    assert len(Clusters(2).partition(ctx)) == 3


def test_missing_imagenet_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(ValueError, match=r"no network.*Download https://.*resnet18.* to .*features='trained'"):
        ImageNet().check((3, 32, 32))
    with pytest.raises(ValueError, match=r"needs images with 1 or 3 channels; samples have shape \(2, 9\)"):
        ImageNet().check((2, 9))


def test_only_small_images_are_upsampled() -> None:
    x = torch.randn(2, 1, 40, 70)
    assert torch.equal(enlarge(x, 32), x.repeat(1, 3, 1, 1))
    assert enlarge(torch.randn(1, 3, 8, 9), 64).shape == (1, 3, 64, 72)


def test_maps_are_averaged_over_windows() -> None:
    rows = torch.randn(2, 3)
    assert torch.equal(pool(rows, 1), rows)
    assert torch.equal(pool(rows, None), rows)
    maps = torch.randn(2, 3, 7, 4)
    assert torch.equal(pool(maps, None), maps.flatten(1))
    torch.testing.assert_close(pool(maps, 1), maps.mean((2, 3)))
    windows = [maps[:, :, y : y + 2, x].mean(2) for y in (0, 2, 4, 6) for x in range(4)]
    torch.testing.assert_close(pool(maps, 4), torch.stack(windows, 2).flatten(1))
    for ndim in (3, 5):
        assert pool(torch.ones(2, 3, *(9,) * (ndim - 2)), 4).tolist() == [[1.0] * 3 * 3 ** (ndim - 2)] * 2


def test_names_and_defaults() -> None:
    assert Clusters().features == ImageNet(layer=1, extent=None, side=32)
    assert Clusters(features="trained").features == Trained(StageNetwork(), layer=Stage(1), extent=8)
    assert stage_extractor("imagenet", 2, means=True) == ImageNet(layer=2)
    assert Clusters(features="raw").features == Raw()
    nearest = resolve(NearestToCentroids(), DatasetInfo((9,), ("a",), 1))
    assert isinstance(nearest.features, Trained)
    looked: list[int] = []

    def function(x: Tensor) -> Tensor:
        looked.append(len(x))
        return x

    Clusters(2, function).partition(clumped())
    assert looked == [21, 21]


def test_fields_by_text_and_json() -> None:
    sampler = set_field(PerGroup(), "within", parse_value("Clusters(k=5, features=raw)"))
    assert sampler == PerGroup(within=Clusters(5, Raw()))
    assert set_field(PerGroup(within=Clusters()), "layer", 3).within == Clusters(
        features=ImageNet(3, extent=None, side=32)
    )
    for spec in (sampler, PerGroup(within=NearestToCentroids(period=3))):
        assert from_json(json.loads(json.dumps(to_json(spec)))) == spec


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Clusters(0), r"Clusters\(k=0\) must be an integer of at least 1"),
        (
            lambda: Clusters(weights="sizes"),
            r"Clusters\(weights='sizes'\) must be one of 'size', 'uniform'",
        ),
        (lambda: Clusters(features="pixels"), r"features='pixels' is unknown"),
        (lambda: NearestToCentroids(period=0), r"NearestToCentroids\(period=0\)"),
        (lambda: ImageNet(layer=5), r"ImageNet\(layer=5\) must be 1, 2, 3 or 4"),
        (lambda: ImageNet(side=8), r"ImageNet\(side=8\) must be an integer of at least 32"),
        (lambda: PerGroup(within=20), r"PerGroup\(within=20\) must be a BatchSelection or None"),
    ],
)
def test_fields_are_checked(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
