"""The pool of networks trained on the real samples before the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pool_data import NETWORK, FixedData, context, weights_of
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.spec import from_json, set_field, to_json
from condensed_data.methods.base import PoolState
from condensed_data.methods.pools import Pretrained
from condensed_data.networks import ConvNet
from condensed_data.training import trained_networks as trained
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trained_networks import initial_network, trained_networks

ASKED = Pretraining(epochs=2, networks=3, sgd=SGDConfig(0.05, 0.9, batch_size=16))
SPEC = Pretrained(NETWORK, ASKED)
BATCHED = ConvNet(8, 2, norm="batch")


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weight.flatten() for weight in weights.values()])


def drawn_index(ctx: Context, iteration: int) -> int:
    return int(ctx.rng.choice("pretrained", iteration, 0, 3, 1))


def test_every_iteration_draws_one_of_the_networks_with_its_centers() -> None:
    ctx = context()
    stored, pool_state = trained_networks(ctx, NETWORK, ASKED), SPEC.start(ctx)
    seen = set()
    for iteration in range(12):
        net, index = pool_state.network_at(iteration), drawn_index(ctx, iteration)
        seen.add(index)
        assert torch.equal(weights_of(net.module), flat(stored[index].weights))
        assert net.centers is not None
        assert torch.equal(net.centers, stored[index].centers)
        assert not net.module.training
        pool_state.update(iteration, FixedData(ctx))
    assert seen == {0, 1, 2}
    assert pool_state.state_dict() == {}


def test_centers_are_the_class_means_of_the_embeddings() -> None:
    ctx = context()
    net = Pretrained(BATCHED, ASKED).start(ctx).network_at(0)
    rows = ctx.real[torch.arange(len(ctx.real))]
    assert net.centers is not None
    for label in range(3):
        mean = net.embed(rows[ctx.real.labels == label]).mean(0)
        torch.testing.assert_close(net.centers[label], mean, rtol=1e-4, atol=1e-5)


def test_dance_interpolates_between_initial_and_trained() -> None:
    ctx = context()
    stored, pool_state = (
        trained_networks(ctx, BATCHED, ASKED),
        Pretrained(BATCHED, ASKED, "dance").start(ctx),
    )
    lams = []
    for iteration in range(20):
        net, index = pool_state.network_at(iteration), drawn_index(ctx, iteration)
        lam = float(ctx.rng.uniform("interpolate", iteration, [0], 1))
        lams.append(lam)
        before, after = initial_network(ctx, BATCHED, index).state_dict(), stored[index].weights
        for name, weight in net.module.state_dict().items():
            if "num_batches" not in name:
                torch.testing.assert_close(weight, lam * before[name] + (1 - lam) * after[name])
        assert net.centers is None
    assert min(lams) < 0.4 < 0.6 < max(lams)


def test_calibration_uses_the_trained_end_of_the_interpolation() -> None:
    ctx = context()
    ends, between = SPEC.start(ctx), replace(SPEC, interpolate="dance").start(ctx)
    for iteration in range(8):
        lam = float(ctx.rng.uniform("interpolate", iteration, [0], 1))
        end = weights_of(ends.network_at(iteration).module)
        start = weights_of(initial_network(ctx, NETWORK, drawn_index(ctx, iteration)))
        middle = weights_of(between.network_at(iteration).module)
        torch.testing.assert_close(middle, lam * start + (1 - lam) * end)


def test_pools_share_the_cache_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(pool_state: PoolState) -> list[Tensor]:
        return [weights_of(pool_state.network_at(iteration).module) for iteration in range(4)]

    kept = context(network_store=PretrainedCache(tmp_path))
    first = weights(SPEC.start(kept))

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(trained, "train", never)
    again = weights(SPEC.start(kept))
    SPEC.start(kept)
    replace(SPEC, interpolate="dance").start(kept)
    replace(SPEC, pretrain=replace(ASKED, networks=2)).start(kept)
    monkeypatch.undo()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, weights(SPEC.start(context())), strict=True))


def test_networks_without_an_embedding_have_no_centers() -> None:
    def convolutional(num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
        return nn.Sequential(nn.Conv2d(sample_shape[0], num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    net = Pretrained(convolutional, replace(ASKED, networks=1)).start(context()).network_at(0)
    assert net.centers is None
    assert net.logits(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def test_invalid_arguments_are_rejected_early() -> None:
    with pytest.raises(ValueError, match=r"Pretrained\(interpolate='linear'\) must be one of None, 'dance'"):
        Pretrained(interpolate="linear")
    with pytest.raises(ValueError, match="ConvNet"):
        SPEC.check((4,))


def test_fields_can_be_set_by_name() -> None:
    quick = set_field(set_field(SPEC, "epochs", 1), "networks", 1)
    assert quick.pretrain == replace(ASKED, epochs=1, networks=1)
    assert from_json(json.loads(json.dumps(to_json(SPEC)))) == SPEC
    assert networks.network(SPEC.network) is NETWORK
