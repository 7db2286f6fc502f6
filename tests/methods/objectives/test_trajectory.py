"""Matching trajectories against training by hand."""

from __future__ import annotations

import oracles_unrolled as oracles
import pytest
import torch
from torch import Tensor
from unrolling import D, blocks_of, convnet, hidden, moved, pair, plain_weights, weights_of

from condensed_data.core.batch import NetworkView
from condensed_data.methods.objectives import Trajectory

UNROLLS = ("full", "checkpointed", "constant")


def with_target(net: NetworkView) -> NetworkView:
    draw = torch.Generator().manual_seed(4)
    net.target = {
        name: w + 0.3 * torch.randn(w.shape, generator=draw, dtype=w.dtype) for name, w in net.module.named_parameters()
    }
    return net


def target_of(net: NetworkView) -> oracles.Weights:
    first, second = (weight.tolist() for weight in net.target.values())
    return first, second


@pytest.mark.parametrize("unroll", UNROLLS)
def test_the_loss_is_the_relative_distance_to_the_expert(unroll: str) -> None:
    net, case = with_target(hidden()), pair()
    assert case.step_sizes is not None
    reached = oracles.trained(weights_of(net), blocks_of(case.synthetic), case.step_sizes.tolist())
    expected = oracles.distance(reached, target_of(net)) / oracles.distance(weights_of(net), target_of(net))
    assert Trajectory(unroll)(net, case).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("unroll", UNROLLS)
def test_the_derivative_is_that_of_training_by_hand(unroll: str) -> None:
    net, case = with_target(hidden()), pair()
    x, sizes = case.synthetic.x, case.step_sizes
    assert sizes is not None
    start, target, rates = weights_of(net), target_of(net), sizes.tolist()
    path = oracles.path_of(start, blocks_of(case.synthetic), rates)

    def loss(x: Tensor, rates: list[float]) -> float:
        blocks = blocks_of(case.synthetic, x)
        constant = unroll == "constant"
        reached = oracles.trained_at(path, start, blocks, rates) if constant else oracles.trained(start, blocks, rates)
        return oracles.distance(reached, target) / oracles.distance(start, target)

    in_x, in_sizes = torch.autograd.grad(Trajectory(unroll)(net, case), [x, sizes])
    for row in range(len(x)):
        for d in range(D):
            expected = oracles.difference(lambda by, row=row, d=d: loss(moved(x, row, d, by), rates))
            assert float(in_x[row, d]) == pytest.approx(expected, abs=1e-9)
    for t in range(len(rates)):
        expected = oracles.difference(lambda by, t=t: loss(x, [r + by * (i == t) for i, r in enumerate(rates)]))
        assert float(in_sizes[t]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("unroll", ["full", "checkpointed"])
def test_convolutions_equal_plain_differentiation(unroll: str) -> None:
    net, case = with_target(convnet()), pair((2, 6, 5))
    assert case.step_sizes is not None
    wanted = [case.synthetic.x, case.step_sizes]
    reached = plain_weights(net, case)
    left = sum((reached[name] - target).square().sum() for name, target in net.target.items())
    whole = sum((net.module.get_parameter(name) - target).square().sum() for name, target in net.target.items())
    ours = torch.autograd.grad(Trajectory(unroll)(net, case), wanted)
    for found, expected in zip(ours, torch.autograd.grad(left / whole, wanted), strict=True):
        assert float(expected.abs().max()) > 1e-5
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("unroll", UNROLLS)
def test_a_student_at_the_target_has_zero_loss_and_derivative(unroll: str) -> None:
    net, case = hidden(), pair()
    net.target = {name: weight.detach() for name, weight in plain_weights(net, case).items()}
    loss = Trajectory(unroll)(net, case)
    assert loss.item() < 1e-28
    assert float(torch.autograd.grad(loss, case.synthetic.x)[0].abs().max()) < 1e-12


def test_pools_without_a_target_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs an expert's later weights. Use the Experts pool"):
        Trajectory()(hidden(), pair())
    with pytest.raises(ValueError, match="Trajectory"):
        Trajectory("tesla")
