"""Properties of every loss that is a sum over groups and zero for equal samples."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from oracles_objectives import NET, batch, network_view, pair, shuffled
from torch import Tensor

from condensed_data.core.batch import Batch, Pair
from condensed_data.methods.base import Objective
from condensed_data.methods.objectives import (
    Centralization,
    CharacteristicFunction,
    Covariance,
    KernelMMD,
)
from condensed_data.networks import ConvNet

SMOOTH = ConvNet(width=3, depth=1, activation="sigmoid")


OBJECTIVES: list[Objective] = [
    Covariance(),
    Centralization(),
    Centralization(alpha=20.0),  # steep: here the gradient through the center matters
    Centralization(form="linear"),
    KernelMMD(),
    KernelMMD("polynomial"),
    CharacteristicFunction(64),
    CharacteristicFunction(64, alpha=0.8),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_differentiable_and_invariant_to_order_and_chunks(objective: Objective) -> None:
    net, both = network_view(SMOOTH, (1, 4, 4)), pair((1, 4, 4))

    def loss(x: Tensor) -> Tensor:
        return objective(net, replace(both, synthetic=replace(both.synthetic, x=x)))

    x = both.synthetic.x.clone().requires_grad_()
    if objective != KernelMMD():  # whose widths depend on the samples, without a gradient
        assert torch.autograd.gradcheck(loss, (x,))
    other = Pair(shuffled(both.real), shuffled(both.synthetic))
    for rows in (1, 3, None):
        torch.testing.assert_close(objective(replace(net, micro_batch=rows), other), loss(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_groups_add_up_and_the_real_side_has_no_graph(objective: Objective) -> None:
    net, both = network_view(SMOOTH), pair()
    alone = []
    for group in range(3):
        sides = [
            Batch(side.split(side.x)[group], side.split(side.y)[group], (side.sizes[group],))
            for side in (both.real, both.synthetic)
        ]
        alone.append(objective(net, Pair(*sides)))
    torch.testing.assert_close(torch.stack(alone).sum(), objective(net, both))
    real, x = both.real.x.clone().requires_grad_(), both.synthetic.x.clone().requires_grad_()
    tracked = Pair(replace(both.real, x=real), replace(both.synthetic, x=x))
    gradient, none = torch.autograd.grad(objective(net, tracked), [x, real], allow_unused=True)
    assert none is None
    assert bool((gradient.flatten(1).abs().sum(1) > 0).all())


@pytest.mark.parametrize("objective", [o for o in OBJECTIVES if not isinstance(o, Centralization)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_with_a_finite_gradient_at_equal_samples(objective: Objective, dtype: torch.dtype) -> None:
    net, side = network_view(NET), batch((3, 2), 1)
    net.module.to(dtype)
    side = replace(side, x=side.x.to(dtype))
    x = side.x.clone().requires_grad_()
    loss = objective(net, Pair(side, replace(side, x=x)))
    (gradient,) = torch.autograd.grad(loss, x)
    small = 1e-5 if dtype == torch.float32 else 1e-12
    assert abs(float(loss.detach())) < small
    assert float(gradient.abs().max()) < small
