"""Pools that train networks between iterations, each against a loop written from its definition."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pool_data import NETWORK, FixedData, context, small_real, through_a_file, weights_of
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DatasetInfo, from_json, resolve, to_json, validate
from condensed_data.data.augment import Identity, SiameseAugment
from condensed_data.data.cutmix import SpatialCutMix
from condensed_data.methods.base import Pool, PoolState
from condensed_data.methods.pools import (
    DynamicBilevel,
    Online,
    Queue,
    TrainedOnReal,
    TrainedOnSynthetic,
)
from condensed_data.networks import MLP, ConvNet
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, SGDTrainer

PLAIN = SGDConfig(0.1, batch_size=5)
MOVING = SGDConfig(0.1, 0.9, 5e-4, batch_size=5)
REGRESSION = SGDConfig(0.01, batch_size=9, optimizer="adam", loss="squared_error")
POOLS: dict[str, Pool] = {
    "on synthetic": TrainedOnSynthetic(NETWORK, period=4, epochs=2, sgd=MOVING),
    "on real": TrainedOnReal(
        NETWORK,
        period=4,
        samples=13,
        sgd=SGDConfig(0.05, 0.9, 5e-4, 6, SiameseAugment(per_sample=True), 0.5),
    ),
    "queue": Queue(
        NETWORK, initial_size=2, interval=2, capacity=3, trained_per_iteration=2, steps=2, reset=4, sgd=MOVING
    ),
    "online": Online(
        NETWORK, networks=3, updates=3, sgd=SGDConfig(0.01, batch_size=9, optimizer="adam", loss="squared_error")
    ),
    "bilevel": DynamicBilevel(NETWORK, outer=0.01, inner=0.01, window=2, queries=9, period=4, epochs=3, sgd=MOVING),
}


def fresh(ctx: Context, number: int, spec: Any = NETWORK) -> nn.Module:
    real = ctx.real
    return networks.build(spec, real.num_classes, real.sample_shape, ctx.rng.seed_for("network", number))


def sgd_step(module: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    """One plain SGD step; returns which rows were classified correctly before it."""
    logits = module(x)
    optimizer.zero_grad()
    F.cross_entropy(logits, y).backward()
    optimizer.step()
    return logits.argmax(1) == y


def walk(pool_state: PoolState, ctx: Context, iterations: range) -> list[Tensor]:
    """The network's weights in every iteration; the synthetic samples change a little after each."""
    stored, weights = FixedData(ctx), []
    for iteration in iterations:
        weights.append(weights_of(pool_state.network_at(iteration).module))
        with torch.no_grad():
            stored.images.fill_(0).add_(FixedData(ctx).images * (1 + iteration / 10))
        pool_state.update(iteration, stored)
    return weights


@pytest.mark.parametrize("name", POOLS)
def test_resumed_pools_provide_the_same_bits(name: str, tmp_path: Path) -> None:
    ctx = context()
    straight = walk(POOLS[name].start(ctx), ctx, range(9))
    for stop in (3, 4, 6):
        first = POOLS[name].start(ctx)
        walk(first, ctx, range(stop))
        second = POOLS[name].start(context())
        second.load_state_dict(through_a_file(first.state_dict(), tmp_path))
        rest = walk(second, ctx, range(stop, 9))
        assert all(torch.equal(a, b) for a, b in zip(straight[stop:], rest, strict=True))
    assert sum(not torch.equal(a, b) for a, b in pairwise(straight)) >= 4


@pytest.mark.parametrize("name", POOLS)
def test_networks_are_frozen_and_global_rng_is_untouched(name: str, untouched_rng: None) -> None:
    def dropped(num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, num_classes))

    pool = POOLS[name].__class__(**{**POOLS[name].__dict__, "network": dropped})
    ctx = context()
    first, again = (pool.start(ctx) for _ in range(2))
    weights = walk(first, ctx, range(5))
    assert all(torch.equal(a, b) for a, b in zip(weights, walk(again, ctx, range(5)), strict=True))
    net = first.network_at(5)
    assert not any(weight.requires_grad for weight in net.module.parameters())
    assert all(weight.grad is None for weight in net.module.parameters())
    assert torch.equal(weights_of(first.network_at(5).module), weights_of(net.module))  # class by class


@pytest.mark.parametrize("name", POOLS)
def test_specifications_survive_json(name: str) -> None:
    assert from_json(json.loads(json.dumps(to_json(POOLS[name])))) == POOLS[name]


def test_online_networks_are_replaced_after_their_updates() -> None:
    ctx = context()
    pool_state, stored = Online(MLP(8, 1), networks=4, updates=6, sgd=PLAIN).start(ctx), FixedData(ctx)
    ages, created, chosen = [0, 1, 2, 3], 4, []
    for iteration in range(40):
        chosen.append(int(ctx.rng.choice("online look", iteration, 0, 4, 1)))
        before = weights_of(pool_state.network_at(iteration).module)
        assert not pool_state.network_at(iteration).module.training
        pool_state.update(iteration, stored)
        found = pool_state.state_dict()
        if ages[chosen[-1]] > 6:
            ages[chosen[-1]], created = 0, created + 1
            weights = found["members"][chosen[-1]]["network"]
            fresh_weights = fresh(ctx, created - 1, MLP(8, 1)).state_dict()
            assert all(torch.equal(weights[name], fresh_weights[name]) for name in weights)
        else:
            ages[chosen[-1]] += 1
            after = torch.cat([part.flatten() for part in found["members"][chosen[-1]]["network"].values()])
            assert not torch.equal(before, after)
        assert [member["updates"] for member in found["members"]] == ages
        assert found["created"] == created
    assert created > 6
    assert set(chosen) == {0, 1, 2, 3}


def test_trained_on_synthetic_equals_its_definition() -> None:
    ctx, spec = context(), TrainedOnSynthetic(NETWORK, period=3, epochs=2, sgd=PLAIN)
    pool_state, stored = spec.start(ctx), FixedData(ctx)
    for iteration in range(7):
        net = pool_state.network_at(iteration)
        before = weights_of(net.module)
        if iteration % 3 == 0:
            module = fresh(ctx, iteration // 3)
            optimizer = torch.optim.SGD(module.parameters(), 0.1)
        torch.testing.assert_close(before, weights_of(module), rtol=1e-4, atol=1e-5)
        pool_state.update(iteration, stored)
        draws = RandomStreams(ctx.rng.seed_for("learn", iteration))
        for epoch in range(2):
            order = torch.randperm(12, generator=draws.torch("shuffle", epoch))
            for rows in (order[:5], order[5:10], order[10:]):
                sgd_step(module, optimizer, stored.images.detach()[rows], stored.labels[rows])
        if iteration % 3 == 2:  # a network is not trained after its last iteration
            assert torch.equal(weights_of(net.module), before)
    assert stored.images.grad is None


def test_with_period_one_networks_are_never_trained() -> None:
    ctx = context()
    weights = walk(TrainedOnSynthetic(NETWORK, period=1, epochs=1).start(ctx), ctx, range(3))
    for number, found in enumerate(weights):
        assert torch.equal(found, weights_of(fresh(ctx, number)))


def test_trained_on_real_equals_its_definition() -> None:
    ctx, spec = context(), TrainedOnReal(NETWORK, period=3, samples=8, sgd=PLAIN)
    pool_state, seen = spec.start(ctx), set()
    for iteration in range(5):
        if iteration % 3 == 0:
            module = fresh(ctx, iteration // 3)
            optimizer = torch.optim.SGD(module.parameters(), 0.1)
        torch.testing.assert_close(
            weights_of(pool_state.network_at(iteration).module), weights_of(module), rtol=1e-4, atol=1e-5
        )
        pool_state.update(iteration, FixedData(ctx))
        order = torch.randperm(57, generator=RandomStreams(ctx.rng.seed_for("learn", iteration)).torch("real"))[:8]
        seen.update(order.tolist())
        for rows in (order[:5], order[5:]):
            sgd_step(module, optimizer, ctx.real[rows], ctx.real.labels[rows])
    assert len(seen) > 20


def test_more_samples_than_the_source_has_means_all() -> None:
    ctx = context()
    weights = walk(TrainedOnReal(NETWORK, samples=10_000, sgd=PLAIN).start(ctx), ctx, range(2))
    assert not torch.equal(weights[0], weights[1])


def test_cutmix_only_for_images_and_signals() -> None:
    spec = TrainedOnReal()
    assert resolve(spec, DatasetInfo((1, 8, 8), ("a",), 1)).sgd.cutmix == 0.5
    vectors = resolve(spec, DatasetInfo((9,), ("a",), 1))
    assert vectors.sgd.cutmix == 0.0
    ctx = context(small_real((9,)))
    assert len(walk(vectors.start(ctx), ctx, range(2))) == 2
    with pytest.raises(ValueError, match=r"SGDConfig\(cutmix=0.5\) needs images or signals, not vectors"):
        validate(TrainedOnReal(MLP(4), sgd=SGDConfig(cutmix=0.5)), (9,))
    assert SpatialCutMix(0.3)(DatasetInfo((2, 9), (), 1)) == 0.3


def test_cutmix_and_augmentation_change_the_training() -> None:
    ctx = context()
    bare, mixed, augmented = (
        walk(TrainedOnReal(NETWORK, samples=20, sgd=sgd).start(ctx), ctx, range(2))[1]
        for sgd in (
            PLAIN,
            SGDConfig(0.1, batch_size=5, cutmix=1.0),
            SGDConfig(0.1, batch_size=5, augment=SiameseAugment()),
        )
    )
    assert not torch.equal(bare, mixed)
    assert not torch.equal(bare, augmented)
    assert isinstance(PLAIN.augment, Identity)


def test_batch_norm_uses_the_statistics_of_one_real_batch() -> None:
    ctx, spec = context(), ConvNet(8, 2, norm="batch")
    pool_state = TrainedOnSynthetic(spec, period=3, epochs=1, sgd=PLAIN).start(ctx)
    for iteration in range(4):
        module = pool_state.network_at(iteration).module
        norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
        assert not any(layer.training for layer in norms)
        rows = [
            members[ctx.rng.choice("normalise", iteration, group, len(members), 16)]
            for group, members in enumerate(ctx.real.members)
        ]
        first = module.blocks[0][0](ctx.real[torch.cat(rows)])
        torch.testing.assert_close(norms[0].running_mean, first.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norms[0].running_var, first.transpose(0, 1).flatten(1).var(1), rtol=1e-4, atol=1e-5)
        alone, together = module(ctx.real[torch.arange(3)])[:1], module(ctx.real[torch.arange(1)])
        torch.testing.assert_close(alone, together)  # rows do not see each other
        pool_state.update(iteration, FixedData(ctx))


def test_queue_equals_its_definition() -> None:
    ctx = context()
    spec = Queue(NETWORK, 2, 2, 3, trained_per_iteration=2, steps=3, reset=5, sgd=MOVING)
    pool_state, draws = spec.start(ctx), ctx.rng

    def member(number: int) -> list[Any]:
        module = fresh(ctx, number)
        return [number, module, torch.optim.SGD(module.parameters(), 0.1, 0.9, weight_decay=5e-4), 0, 0]

    queue = [member(0), member(1)]
    sizes, accuracies = [], []
    for iteration in range(8):
        if iteration == 5:
            for one in queue:
                one[3:] = [0, 0]
        net = pool_state.network_at(iteration)
        number, module, _, hits, seen = queue[int(draws.choice("queue look", iteration, 0, len(queue), 1))]
        torch.testing.assert_close(weights_of(net.module), weights_of(module), rtol=1e-3, atol=1e-4)
        accuracies.append(float(net.accuracy))
        assert accuracies[-1] == pytest.approx(hits / seen if seen else 0.0)
        assert not net.module.training
        for index in draws.choice("queue learn", iteration, 0, len(queue), 2).tolist():
            number, module, optimizer, *_ = queue[index]
            for step in range(3):
                own = RandomStreams(draws.seed_for("queue", iteration, number))
                rows = own.choice("real", step, 0, 57, 5)
                right = sgd_step(module, optimizer, ctx.real[rows], ctx.real.labels[rows])
                queue[index][3] += int(right.sum())
                queue[index][4] += 5
        pool_state.update(iteration, FixedData(ctx))
        if iteration % 2:
            queue = [*queue, member(2 + iteration // 2)][-3:]
        sizes.append(len(queue))
    assert sizes == [2, 3, 3, 3, 3, 3, 3, 3]
    assert queue[0][0] == 3  # first in, first out
    assert accuracies[5] == 0 < max(accuracies[:5])


def test_running_accuracy_of_the_queue_rises() -> None:
    ctx = context()
    pool_state = Queue(NETWORK, initial_size=1, trained_per_iteration=1, sgd=SGDConfig(0.05, 0.9, batch_size=16)).start(
        ctx
    )
    untrained = pool_state.network_at(0).accuracy
    assert untrained is not None
    before = float(untrained)  # the tensor is updated in place
    for iteration in range(6):
        pool_state.network_at(iteration)
        pool_state.update(iteration, FixedData(ctx))
    after = pool_state.network_at(6).accuracy
    assert before == 0.0
    assert after is not None
    assert 0.6 < after <= 1.0


def test_bilevel_equals_its_definition() -> None:
    ctx, stored = context(), FixedData(context())
    spec = DynamicBilevel(NETWORK, outer=0.06, inner=0.02, window=2, queries=9, period=4, epochs=3, sgd=PLAIN)
    pool_state, number, lived, outer, renewed = spec.start(ctx), 0, 0, [], []
    module = fresh(ctx, 0)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)

    def measure(draws: RandomStreams, times: int) -> float:
        right, count = 0, 0
        for label in range(3):
            members = (ctx.real.labels == label).nonzero()[:, 0]
            size = min(9, len(members))
            for row in members[draws.choice("query", times, label, len(members), size)].tolist():
                right += int(module(ctx.real[torch.tensor([row])]).argmax()) == label
                count += 1
        return right / count

    trained = []
    for iteration in range(14):
        torch.testing.assert_close(
            weights_of(pool_state.network_at(iteration).module), weights_of(module), rtol=1e-4, atol=1e-5
        )
        pool_state.update(iteration, stored)
        draws = RandomStreams(ctx.rng.seed_for("bilevel", iteration))
        lived, outer = lived + 1, [*outer, measure(draws, 0)][-2:]
        if lived == 4 or (len(outer) == 2 and max(outer) - min(outer) < 0.06):
            number, lived, outer = number + 1, 0, []
            module = fresh(ctx, number)
            optimizer = torch.optim.SGD(module.parameters(), 0.1)
            renewed.append(iteration)
            continue
        inner: list[float] = []
        for epoch in range(3):
            order = torch.randperm(12, generator=RandomStreams(draws.seed_for("epoch", epoch)).torch("shuffle", 0))
            for rows in (order[:5], order[5:10], order[10:]):
                sgd_step(module, optimizer, stored.images.detach()[rows], stored.labels[rows])
            inner = [*inner, measure(draws, epoch + 1)][-2:]
            if len(inner) == 2 and max(inner) - min(inner) > 0.02:
                break
        trained.append(epoch + 1)
    lives = [b - a for a, b in zip([-1, *renewed], renewed, strict=False)]
    assert len(set(lives)) > 1  # replaced depending on its accuracy, not after a fixed period
    assert max(lives) <= 4
    assert len(set(trained)) > 1


def test_bilevel_is_bounded_if_accuracy_never_changes() -> None:
    ctx = context()
    still = DynamicBilevel(NETWORK, outer=0.0, inner=1.0, window=2, queries=2, period=2, epochs=1, sgd=SGDConfig(1e-30))
    weights = walk(still.start(ctx), ctx, range(5))
    assert torch.equal(weights[0], weights_of(fresh(ctx, 0)))
    assert torch.equal(weights[2], weights_of(fresh(ctx, 1)))
    assert torch.equal(weights[4], weights_of(fresh(ctx, 2)))


def test_steps_in_chunks_equal_steps_of_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context()
    x, y = ctx.real[torch.arange(20)], ctx.real.labels[:20]
    found = []
    for rows in (None, 3):
        module = fresh(ctx, 0).requires_grad_(False)
        trainer = SGDTrainer(module, MOVING, 3, (1, 8, 8))
        trainer.rows = rows
        losses = [float(trainer.step(x, y, RandomStreams(0), number)[0]) for number in range(3)]
        found.append((losses, weights_of(module)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)


def test_networks_are_trained_on_soft_labels() -> None:
    ctx = context()
    stored = FixedData(ctx)
    stored.targets = lambda index: F.one_hot(stored.labels[index], 3) * 0.8 + 0.2 / 3  # type: ignore[method-assign]
    pool_state = TrainedOnSynthetic(NETWORK, period=2, epochs=1, sgd=PLAIN).start(ctx)
    before = weights_of(pool_state.network_at(0).module)
    pool_state.update(0, stored)
    assert not torch.equal(before, weights_of(pool_state.network_at(1).module))


@pytest.mark.parametrize(
    ("build", "fields", "message"),
    [
        (
            TrainedOnSynthetic,
            {"period": 0},
            r"TrainedOnSynthetic\(period=0\) must be an integer of at least 1",
        ),
        (TrainedOnSynthetic, {"epochs": 1.5}, r"TrainedOnSynthetic\(epochs=1.5\)"),
        (TrainedOnReal, {"samples": 0}, r"TrainedOnReal\(samples=0\)"),
        (Queue, {"steps": 0}, r"Queue\(steps=0\)"),
        (Queue, {"initial_size": 5, "capacity": 4}, r"Queue\(initial_size=5\) must not exceed capacity=4"),
        (DynamicBilevel, {"window": 1}, r"DynamicBilevel\(window=1\) must be an integer of at least 2"),
        (DynamicBilevel, {"outer": 4}, r"DynamicBilevel\(outer=4\) must be in \[0, 1\]"),
    ],
)
def test_fields_are_checked(build: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**fields)
