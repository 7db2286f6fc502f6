"""CAFE's alignment and discrimination equal loops over maps, rows and classes."""

from __future__ import annotations

import math
from dataclasses import replace

import oracles_objectives as oracles
import pytest
import torch
from oracles_objectives import batch, network_view, pair, shuffled
from torch import Tensor, nn

from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.methods.objectives import Discrimination, LayerAlignment
from condensed_data.networks import MLP, ConvNet

SHAPE = (2, 8, 8)
NET = ConvNet(width=4, depth=3, norm="group")
SMOOTH = ConvNet(width=3, depth=2, activation="sigmoid", norm="none")


def expected_alignment(net: NetworkView, both: Pair, weights: tuple[float, ...]) -> float:
    total = 0.0
    for group in range(len(both.real.sizes)):
        real, synthetic = (net.feature_maps(side.split(side.x)[group]) for side in (both.real, both.synthetic))
        total += oracles.alignment(weights, real, synthetic)
    return total


@pytest.mark.parametrize("weights", [None, (0.3, 0.0, 2.0, 1.5)])
def test_alignment_equals_the_loops(weights: tuple[float, ...] | None) -> None:
    net, both = network_view(NET, SHAPE), pair(SHAPE)
    value = expected_alignment(net, both, weights or (0.1, 0.1, 1.0, 2.0))
    assert float(LayerAlignment(weights)(net, both)) == pytest.approx(value, rel=1e-10)


def test_the_last_map_counts_twice_because_the_embedding_is_the_same_numbers() -> None:
    net, both = network_view(NET, SHAPE), pair(SHAPE)
    published = expected_alignment(net, both, (0.1, 0.1, 1.0, 1.0))
    embedded = both.real.means(net.embed(both.real.x)) - both.synthetic.means(net.embed(both.synthetic.x))
    loss = float(LayerAlignment()(net, both))
    assert loss == pytest.approx(published + float(embedded.square().sum()), rel=1e-10)


@pytest.mark.parametrize(
    ("network", "shape", "weights"),
    [
        (ConvNet(width=4, depth=1), (1, 7, 5), (1.0, 2.0)),
        (ConvNet(width=4, depth=1, pooling="none"), (3, 6, 6), (2.0,)),
        (ConvNet(width=4, depth=2), (2, 16), (0.1, 1.0, 2.0)),
        (MLP(width=6, depth=4), (5,), (0.1, 0.1, 1.0, 2.0)),
    ],
)
def test_the_default_weights_for_any_depth_and_shape(
    network: object, shape: tuple[int, ...], weights: tuple[float, ...]
) -> None:
    net, both = network_view(network, shape), pair(shape)
    assert float(LayerAlignment()(net, both)) == pytest.approx(expected_alignment(net, both, weights), rel=1e-10)


def test_named_layers_of_a_network_without_maps() -> None:
    net = network_view(lambda k, shape: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, k)), (5,))
    both = pair((5,))
    first, _, last = net.module
    seen = replace(net, layers=lambda x: (torch.tanh(first(x)), last(torch.tanh(first(x)))))
    loss = LayerAlignment((0.5, 2.0), layers=("1", "2"))(net, both)
    assert float(loss) == pytest.approx(expected_alignment(seen, both, (0.5, 2.0)), rel=1e-10)
    with pytest.raises(ValueError, match="has no method feature_maps"):
        LayerAlignment()(net, both)
    with pytest.raises(ValueError, match="has no layers 'head'"):
        LayerAlignment(layers=("head",))(net, both)


def test_networks_that_couple_samples_get_all_blocks_at_once() -> None:
    net = replace(network_view(ConvNet(width=4, depth=1, norm="batch")), micro_batch=None)
    both = pair()
    maps = [net.feature_maps(side.x) for side in (both.real, both.synthetic)]
    total = 0.0
    for weight, real, synthetic in zip((1.0, 2.0), *maps, strict=True):
        for a, b in zip(both.real.split(real), both.synthetic.split(synthetic), strict=True):
            total += oracles.alignment([weight], [a], [b])
    assert float(LayerAlignment()(net, both)) == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("weight", [0.01, 2.0])
def test_discrimination_equals_the_loops(weight: float) -> None:
    net, both = network_view(NET, SHAPE), pair(SHAPE)
    real, synthetic = (side.split(net.embed(side.x)) for side in (both.real, both.synthetic))
    value = weight * oracles.discrimination(real, synthetic, [0, 1, 2])
    assert float(Discrimination(weight)(net, both)) == pytest.approx(value, rel=1e-10)


def test_groups_of_one_class_are_not_discriminated() -> None:
    net = network_view(NET, SHAPE)
    real, synthetic = (
        replace(side, y=torch.tensor([0, 0, 2]).repeat_interleave(torch.tensor(side.sizes)))
        for side in (batch((4, 2, 3), 1, SHAPE), batch((2, 1, 2), 2, SHAPE))
    )
    blocks = [side.split(net.embed(side.x)) for side in (real, synthetic)]
    value = oracles.discrimination(*blocks, [0, 0, 2])
    assert float(Discrimination(1.0)(net, Pair(real, synthetic))) == pytest.approx(value, rel=1e-10)
    assert value != pytest.approx(oracles.discrimination(*blocks, [0, 1, 2]), rel=1e-3)


@pytest.mark.parametrize("objective", [LayerAlignment(), Discrimination()])
def test_differentiable_and_invariant_to_order_and_chunks(objective: LayerAlignment | Discrimination) -> None:
    net, both = network_view(SMOOTH, (1, 4, 4)), pair((1, 4, 4))

    def loss(x: Tensor) -> Tensor:
        return objective(net, replace(both, synthetic=replace(both.synthetic, x=x)))

    x = both.synthetic.x.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (x,))
    other = Pair(shuffled(both.real), shuffled(both.synthetic))
    for rows in (1, 3, None):
        value = objective(replace(net, micro_batch=rows), other)
        torch.testing.assert_close(value, loss(x), rtol=1e-10, atol=1e-12)


def test_alignment_is_zero_at_equal_samples_and_adds_up_over_groups() -> None:
    net, side, both = network_view(NET, SHAPE), batch((3, 2), 1, SHAPE), pair(SHAPE)
    assert float(LayerAlignment()(net, Pair(side, side))) < 1e-24
    alone = []
    for group in range(3):
        sides = [
            Batch(side.split(side.x)[group], side.split(side.y)[group], (side.sizes[group],))
            for side in (both.real, both.synthetic)
        ]
        alone.append(LayerAlignment()(net, Pair(*sides)))
    torch.testing.assert_close(torch.stack(alone).sum(), LayerAlignment()(net, both))


def test_the_real_side_has_no_graph() -> None:
    net, both = network_view(NET, SHAPE), pair(SHAPE)
    real = both.real.x.clone().requires_grad_()
    x = both.synthetic.x.clone().requires_grad_()
    tracked = Pair(replace(both.real, x=real), replace(both.synthetic, x=x))
    for objective in (LayerAlignment(), Discrimination()):
        gradient, none = torch.autograd.grad(objective(net, tracked), [x, real], allow_unused=True)
        assert none is None
        assert bool((gradient.flatten(1).abs().sum(1) > 0).all())


def test_impossible_objectives_are_refused() -> None:
    net, both = network_view(NET, SHAPE), pair(SHAPE)
    with pytest.raises(ValueError, match=r"has 2 weights, but the network has 4 maps\. Give 4"):
        LayerAlignment((1.0, 1.0))(net, both)
    with pytest.raises(
        ValueError,
        match=r"LayerAlignment\(weights=\(1.0, -1\)\) must be a tuple, .* of at least 0",
    ):
        LayerAlignment((1.0, -1))
    with pytest.raises(ValueError, match=r"Discrimination\(weight=inf\) must be a finite number of at least 0"):
        Discrimination(math.inf)
    single = batch((3,), 1, SHAPE)
    with pytest.raises(ValueError, match=r"cannot be computed for 1 group alone\. Use step_per='iteration'"):
        Discrimination()(net, Pair(single, single))
    assert not Discrimination.separable
