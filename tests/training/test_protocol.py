"""Protocols: when the learning rate drops, which values raise errors, and what CutMix mixes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from condensed_data.core import spec as specs
from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import SiameseAugment
from condensed_data.data.cutmix import mix
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import quick


def reference_schedule(epochs: int, per_epoch: int) -> tuple[int, list[int]]:
    """Number of steps, and the steps after which the rate drops, by running the reference's loop."""
    steps, drops = 0, []
    for epoch in range(epochs + 1):
        steps += per_epoch
        if epoch == epochs // 2 + 1:
            drops.append(steps)
    return steps, drops


@pytest.mark.parametrize("epochs", [3, 4, 5, 300, 1000])
@pytest.mark.parametrize(("samples", "per_epoch"), [(10, 1), (256, 1), (257, 2), (1000, 4)])
def test_the_rate_drops_where_the_reference_drops_it(epochs: int, samples: int, per_epoch: int) -> None:
    training, (steps, drops) = Training(epochs=epochs), reference_schedule(epochs, per_epoch)
    assert training.steps(samples) == steps
    assert list(training.drops(samples)) == [drop for drop in drops if drop < steps]
    assert training.started_epochs(samples) == epochs + 1


def test_the_rate_rises_first_and_then_drops_or_follows_a_cosine() -> None:
    module = torch.nn.Linear(2, 2)

    def rates(**changes: Any) -> list[float]:
        training = Training(lr=8.0, max_steps=8, batch_size=4, optimizer="adam", **changes)
        optimizer, found = training.make_optimizer(module), []
        for step in range(8):
            training.tune(optimizer, step, 4)
            found.append(optimizer.param_groups[0]["lr"])
        return found

    assert rates(milestones=()) == [8] * 8
    assert rates(warmup=4, milestones=(0.75,), decay=0.5) == [0, 2, 4, 6, 8, 8, 4, 4]
    assert rates(warmup=2, milestones=(), cosine=0.5) == pytest.approx(
        [0, 4, *(4 + 2 * (1 + math.cos(math.pi * i / 6)) for i in range(6))]
    )


def test_max_steps_is_exact_and_drops_at_the_same_fraction() -> None:
    training = Training(max_steps=100, milestones=(0.5, 0.75), batch_size=8)
    assert training.steps(20) == 100
    assert training.drops(20) == (50, 75)
    assert training.started_epochs(20) == 34  # three steps an epoch, the last one cut short
    assert Training(max_steps=1).drops(20) == ()


def test_optimizers_carry_the_rate_of_their_drop() -> None:
    module = torch.nn.Linear(2, 2)
    for training in (Training(lr=0.1), Training(lr=0.1, optimizer="adamw")):
        first = training.make_optimizer(module)
        assert first.param_groups[0]["lr"] == 0.1
        fresh = training.after_drop(first, module, 2)
        assert fresh is not first
        kept = replace(training, reset_momentum=False).after_drop(first, module, 2)
        assert kept is first
        for optimizer in (fresh, kept):
            assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
            assert optimizer.param_groups[0]["weight_decay"] == 5e-4


def test_weights_of_many_inputs_learn_at_a_fraction_of_the_rate() -> None:
    """The first step of Adam changes every weight by its rate, whatever the gradient."""
    module = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), torch.nn.LayerNorm([3, 6, 6]), torch.nn.Flatten(), torch.nn.Linear(108, 5)
    )
    before = [weight.detach().clone() for weight in module.parameters()]
    training = Training(lr=0.1, optimizer="adamw_fan_in", weight_decay=0.0, reset_momentum=False)
    optimizer = training.make_optimizer(module)
    for weight in module.parameters():
        weight.grad = torch.full_like(weight, 3.0)
    optimizer.step()
    moved = [float((old - new).mean().detach()) for old, new in zip(before, module.parameters(), strict=True)]
    assert moved == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.1 * 64 / 108, 0.1], rel=1e-3)
    kept = training.after_drop(optimizer, module, 1)
    assert sorted(group["lr"] for group in kept.param_groups) == pytest.approx([0.01 * 64 / 108, 0.01])
    fresh = replace(training, reset_momentum=True).after_drop(optimizer, module, 1)
    assert fresh is not optimizer
    assert [group["lr"] for group in fresh.param_groups] == [group["lr"] for group in kept.param_groups]


def test_data_defaults_are_resolved_and_json_keeps_everything() -> None:
    info = specs.DatasetInfo((1, 8, 8), ("0", "1"), ipc=1)
    resolved = specs.resolve(quick(), info)
    assert isinstance(resolved.augment, SiameseAugment)
    assert resolved.augment.ops == ("color", "crop", "cutout", "scale", "rotate")
    assert resolved.augment.per_sample
    for training in (resolved, quick(), Training(milestones=(0.4, 0.8), cutmix=0.5, max_steps=3)):
        assert specs.from_json(specs.to_json(training)) == training


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", True),
        ("max_steps", 0),
        ("views", 0),
        ("lr", 0.0),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("milestones", (0.5, 1.0)),
        ("decay", 0.0),
        ("optimizer", "lion"),
        ("cutmix", 1.1),
        ("cutmix_beta", 0.0),
        ("loss", "hinge"),
        ("warmup", -1),
        ("cosine", 0.1),
        ("augment", "dsa"),
    ],
)
def test_values_out_of_range_raise(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"Training\({argument}=.* must be"):
        Training(**{argument: value})


@pytest.mark.parametrize("size", [(12, 9), (30,)])
def test_cutmix_labels_are_the_fractions_of_the_pasted_pixels(size: tuple[int, ...]) -> None:
    rows, classes = 6, 6
    x = torch.arange(rows).view(rows, *[1] * (len(size) + 1)).expand(rows, 2, *size).clone().float()
    y = torch.eye(classes)
    pasted = []
    for step in range(20):
        mixed, soft = mix(x, y, RandomStreams(0), step, probability=1.0)
        shares = torch.stack([(mixed == c).float().flatten(1).mean(1) for c in range(classes)], 1)
        torch.testing.assert_close(soft, shares)
        pasted.append(1 - float(shares.diagonal().mean()))
    assert min(pasted) < 0.1
    assert max(pasted) > 0.3
    assert torch.equal(x[:, 0].flatten(1)[:, 0], torch.arange(rows).float())  # the samples themselves do not change


def test_cutmix_is_applied_with_its_probability() -> None:
    x, y = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.eye(4)
    changed = [mix(x, y, RandomStreams(1), step, probability=0.5)[0] is not x for step in range(200)]
    assert 70 < sum(changed) < 130
    assert all(mix(x, y, RandomStreams(1), step, probability=0.0)[0] is x for step in range(5))
    again = [mix(x, y, RandomStreams(1), 3, probability=0.5)[0] for _ in range(2)]
    assert torch.equal(*again)
