"""Characteristic functions equal loops; NCFM's sampling network finds frequencies where both sides differ most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import oracles_objectives as oracles
import pytest
import torch
from oracles_objectives import NET, blocks, network_view, pair
from sources import real

from condensed_data.core.rng import RandomStreams
from condensed_data.methods.base import TrainableLoss
from condensed_data.methods.objectives import CharacteristicFunction
from condensed_data.training.context import Context


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_characteristic_functions_equal_the_loops(alpha: float) -> None:
    net, both = network_view(NET), replace(pair(), iteration=3)
    size = net.embed(both.real.x).shape[1]
    t = torch.randn(11, size, generator=RandomStreams(0).torch("frequencies", 3)).tolist()
    total = sum(oracles.characteristic_distance(*block, t, alpha) for block in blocks(net, both))
    assert float(CharacteristicFunction(11, alpha)(net, both)) == pytest.approx(total, rel=1e-8)


def test_frequencies_follow_from_seed_and_iteration(untouched_rng: None) -> None:
    net, both = network_view(NET), pair()
    source = real(torch.eye(4).view(4, 1, 2, 2))
    first, again, other = (
        CharacteristicFunction(8).start(Context(source, 1, RandomStreams(seed), torch.device("cpu")))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first(net, both), again(net, both))
    assert not torch.equal(first(net, both), other(net, both))
    assert not torch.equal(first(net, both), first(net, replace(both, iteration=1)))


def started(frequencies: int = 64, lr: float = 0.01, seed: int = 0) -> TrainableLoss:
    context = Context(real(torch.eye(4).view(4, 1, 2, 2)), 1, RandomStreams(seed), torch.device("cpu"))
    loss: Any = CharacteristicFunction(frequencies, sampling_lr=lr).start(context)
    return loss


def test_the_sampling_network_learns_to_maximize_the_loss() -> None:
    net, both, loss = network_view(NET), pair(), started()
    values = []
    for iteration in range(40):
        values.append(float(loss(net, both).detach()))
        loss.update(iteration)
    assert sum(values[-5:]) > 1.05 * sum(values[:5])


def test_the_loss_is_that_of_its_frequencies() -> None:
    net, both, loss = network_view(NET), replace(pair(), iteration=2), started(12)
    value = float(loss(net, both).detach())
    size = net.embed(both.real.x).shape[1]
    noise = torch.randn(12, size, generator=RandomStreams(0).torch("frequencies", 2)).to(both.real.x)
    t = loss.module(noise).tolist()  # type: ignore[attr-defined]
    assert -1 < min(map(min, t)) < 0 < max(map(max, t)) < 1
    total = sum(oracles.characteristic_distance(*block, t, 0.5) for block in blocks(net, both))
    assert value == pytest.approx(total, rel=1e-8)


def test_it_resumes_from_its_state() -> None:
    net, both = network_view(NET), pair()
    whole, first, second = started(), started(), started()
    for iteration in range(3):
        whole(net, both)
        whole.update(iteration)
    first(net, both)
    first.update(0)
    second.load_state_dict(first.state_dict())
    for iteration in (1, 2):
        second(net, both)
        second.update(iteration)
    assert torch.equal(whole(net, both), second(net, both))


def test_samples_and_sampling_network_have_separate_gradients() -> None:
    """The gradient of the samples is that at fixed frequencies: nothing of the sampling network leaks into it."""
    net, both, loss = network_view(NET), pair(), started(16)
    x = both.synthetic.x.clone().requires_grad_()
    value = loss(net, replace(both, synthetic=replace(both.synthetic, x=x)))
    (gradient,) = torch.autograd.grad(value, x)
    assert float(gradient.abs().max()) > 0
    assert all(weight.grad is not None for weight in loss.module.parameters())  # type: ignore[attr-defined]


def test_values_out_of_range_are_said() -> None:
    with pytest.raises(ValueError, match="sampling_lr=-1"):
        CharacteristicFunction(sampling_lr=-1)
    with pytest.raises(ValueError, match=r"frequencies=1\) must be an integer of at least 2"):
        CharacteristicFunction(1, sampling_lr=0.1)


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        (CharacteristicFunction, {"frequencies": 0}, r"frequencies=0\) must be an integer of at least 1"),
        (CharacteristicFunction, {"alpha": 1.1}, r"alpha=1.1\) must be in \[0, 1\]"),
    ],
)
def test_arguments_out_of_range_are_refused(part: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        part(**fields)
