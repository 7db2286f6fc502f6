"""LAMB, and the cosine of an optimizer, equal their definitions."""

from __future__ import annotations

import math
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from oracles_ridge import NaiveLamb

from condensed_data.methods.lamb import Lamb
from condensed_data.methods.recipe import Optimizer


def tensors() -> list[torch.Tensor]:
    """An ordinary tensor, one that starts at 0, and one whose gradient is 0."""
    draw = torch.Generator().manual_seed(0)
    ordinary, constant = (torch.randn(3, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    return [ordinary, torch.zeros(5, dtype=torch.float64), constant]


def gradients(step: int) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(step)
    first, second = torch.randn(3, 4, generator=draw).double(), torch.randn(5, generator=draw).double()
    return first, second, torch.zeros(3, 4, dtype=torch.float64)


def take(optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        for tensor, gradient in zip(_held(optimizer), gradients(step), strict=True):
            tensor.grad = gradient
        optimizer.step()


def _held(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [tensor for group in optimizer.param_groups for tensor in group["params"]]


def test_steps_equal_the_definition_and_resume() -> None:
    expected = tensors()
    naive, ours, resumed = NaiveLamb(expected), Lamb(tensors(), lr=0.1), Lamb(tensors(), lr=0.1)
    for step in range(5):
        naive.step(gradients(step), 0.1)
    take(ours, range(3))
    resumed.load_state_dict(deepcopy(ours.state_dict()))
    for tensor, other in zip(_held(resumed), _held(ours), strict=True):
        tensor.copy_(other)
    take(ours, range(3, 5))
    take(resumed, range(3, 5))
    for tensor, again, right in zip(_held(ours), _held(resumed), expected, strict=True):
        torch.testing.assert_close(tensor, right, rtol=1e-12, atol=1e-12)
        assert torch.equal(tensor, again)
    assert torch.equal(_held(ours)[2], tensors()[2])


def test_without_a_gradient_nothing_moves() -> None:
    ours = Lamb(tensors())
    ours.step()
    assert all(torch.equal(tensor, start) for tensor, start in zip(_held(ours), tensors(), strict=True))


def test_the_cosine_goes_from_the_rate_to_its_final_fraction() -> None:
    spec = Optimizer("lamb", lr=2.0, rates=(("b", 4.0),), final=0.1)
    optimizer = spec.start({"a": torch.zeros(1, requires_grad=True), "b": torch.zeros(1, requires_grad=True)})
    rates = []
    for iteration in range(11):
        spec.tune(optimizer, iteration, 10)
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == 2 * first
        assert first == pytest.approx(2 * (0.1 + 0.9 * (1 + math.cos(math.pi * iteration / 10)) / 2))
        rates.append(first)
    assert (rates[0], rates[-1]) == (2.0, pytest.approx(0.2))
    assert all(late < early for early, late in pairwise(rates))
    with pytest.raises(ValueError, match=r"Optimizer\(final=1.5\) must be a fraction"):
        Optimizer(final=1.5)
