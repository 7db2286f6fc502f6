"""Gradient matching equals loops over samples, rows and weights."""

from __future__ import annotations

from dataclasses import replace

import oracles_objectives as oracles
import pytest
import torch
import torch.nn.functional as F
from oracles_objectives import batch, network_view, pair, shuffled
from torch import Tensor, nn

from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.methods.objectives import Gradient
from condensed_data.networks import MLP, ConvNet

DISTANCES = ("rows_cosine", "mse", "cosine", "l1")
LAYERS = ("weights", "conv", "all")
NET = ConvNet(width=4, depth=1)
SMOOTH = ConvNet(width=3, depth=1, activation="sigmoid")


def number(loss: Tensor) -> float:
    return float(loss.detach())


def expected(net: NetworkView, both: Pair, distance: str, layers: str) -> float:
    """The loss from one backward pass a sample."""
    kinds = {name: weight.ndim for name, weight in net.weights().items()}
    chosen = {"weights": lambda n: n > 1, "conv": lambda n: n == 4, "all": lambda n: n > 0}[layers]
    names = [name for name, dimensions in kinds.items() if chosen(dimensions)]
    total = 0.0
    for group in range(len(both.real.sizes)):
        sides = [gradient_of(net, side, group, names) for side in (both.real, both.synthetic)]
        total += oracles.gradient_distance(distance, *sides)
    return total


def gradient_of(net: NetworkView, side: Batch, group: int, names: list[str]) -> list[Tensor]:
    weights = net.weights()
    x, y = side.split(side.x)[group], side.split(side.y)[group]
    target = y if y.ndim > 1 else F.one_hot(y, 3).double()

    def loss(i: int) -> Tensor:
        logits = torch.func.functional_call(net.module, weights, (x[i : i + 1],))[0]
        return oracles.log_loss(logits, target[i])

    found = oracles.mean_gradient(loss, len(x), {name: weights[name] for name in names})
    return list(found.values())


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_equals_the_gradient_of_every_sample(distance: str, layers: str) -> None:
    net, both = network_view(NET), pair()
    loss = Gradient(distance, layers)(net, both)
    assert number(loss) == pytest.approx(expected(net, both, distance, layers), rel=1e-10)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equals_the_formula_of_a_linear_classifier(distance: str) -> None:
    both = pair((7,))
    net = network_view(lambda k, shape: nn.Linear(shape[0], k), (7,))
    weight, bias = net.module.weight.detach(), net.module.bias.detach()
    total = 0.0
    for group in range(3):
        sides = [
            oracles.linear_gradient(weight, bias, side.split(side.x)[group], side.split(side.y)[group])
            for side in (both.real, both.synthetic)
        ]
        total += oracles.gradient_distance(distance, *sides)
    assert number(Gradient(distance, "all")(net, both)) == pytest.approx(total, rel=1e-10)


def test_one_dimensional_tensors_are_ignored_by_rows_cosine() -> None:
    net, both = network_view(NET), pair()
    everything, weights = (Gradient("rows_cosine", layers)(net, both) for layers in ("all", "weights"))
    assert torch.equal(everything, weights)
    assert number(Gradient("mse", "all")(net, both)) > number(Gradient("mse", "weights")(net, both))


@pytest.mark.parametrize("distance", DISTANCES)
def test_is_differentiable_in_samples_and_soft_labels(distance: str) -> None:
    net = network_view(SMOOTH, (1, 4, 4))
    both = Pair(batch((3, 2), 1, (1, 4, 4)), batch((2, 1), 2, (1, 4, 4)))
    scores = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        synthetic = replace(both.synthetic, x=x, y=labels.softmax(1))
        return Gradient(distance)(net, replace(both, synthetic=synthetic))

    inputs = (both.synthetic.x.clone().requires_grad_(), scores.requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs, atol=1e-6)


def test_one_hot_labels_equal_hard_ones_and_soft_ones_differ() -> None:
    net, both = network_view(NET), pair()
    hard = F.one_hot(both.synthetic.y, 3)
    soft = replace(both, synthetic=replace(both.synthetic, y=hard.float()))
    torch.testing.assert_close(Gradient()(net, soft), Gradient()(net, both), rtol=1e-12, atol=0)
    smooth = replace(both, synthetic=replace(both.synthetic, y=(hard * 0.7 + 0.1).double()))
    value = expected(net, smooth, "mse", "weights")
    assert number(Gradient("mse")(net, smooth)) == pytest.approx(value, rel=1e-10)
    assert value != pytest.approx(expected(net, both, "mse", "weights"), rel=1e-3)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_samples_are_at_the_minimum(distance: str) -> None:
    net, side = network_view(NET), batch((4, 3), 1)
    loss = number(Gradient(distance)(net, Pair(side, side)))
    far = number(Gradient(distance)(net, Pair(side, batch((4, 3), 2))))
    if distance in ("mse", "l1"):
        assert abs(loss) < 1e-12
    else:  # 1 - cosine leaves what 1e-6 in the denominator takes
        assert 0 < loss < 0.02 * far


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_order_of_samples_does_not_matter(distance: str) -> None:
    net, both = network_view(NET), pair()
    other = Pair(shuffled(both.real), shuffled(both.synthetic))
    objective = Gradient(distance)
    torch.testing.assert_close(objective(net, other), objective(net, both), rtol=1e-10, atol=1e-12)


def test_groups_add_up() -> None:
    net, both = network_view(NET), pair()
    alone = []
    for group in range(3):
        sides = [
            Batch(side.split(side.x)[group], side.split(side.y)[group], (side.sizes[group],))
            for side in (both.real, both.synthetic)
        ]
        alone.append(Gradient()(net, Pair(*sides)))
    torch.testing.assert_close(torch.stack(alone).sum(), Gradient()(net, both))


@pytest.mark.parametrize("rows", [1, 3, 100, None])
def test_chunks_of_the_real_side_change_nothing(rows: int | None) -> None:
    net, both = network_view(NET), pair()
    torch.testing.assert_close(
        Gradient()(replace(net, micro_batch=rows), both), Gradient()(net, both), rtol=1e-10, atol=1e-12
    )


def test_the_network_is_unchanged_and_the_real_side_has_no_graph() -> None:
    net, both = network_view(NET), pair()
    before = {name: weight.clone() for name, weight in net.module.state_dict().items()}
    real = both.real.x.clone().requires_grad_()
    x = both.synthetic.x.clone().requires_grad_()
    both = Pair(replace(both.real, x=real), replace(both.synthetic, x=x))
    loss = Gradient()(net, both)
    gradient, none = torch.autograd.grad(loss, [x, real], allow_unused=True)
    assert none is None
    assert bool((gradient.flatten(1).abs().sum(1) > 0).all())
    for name, weight in net.module.state_dict().items():
        assert torch.equal(weight, before[name])
    assert all(weight.grad is None and not weight.requires_grad for weight in net.module.parameters())


class Spare(nn.Module):
    """A network with a classifier that the forward pass does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(7, 3), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def test_unused_weights_have_gradient_zero() -> None:
    net, both = network_view(lambda k, shape: Spare(), (7,)), pair((7,))
    one = network_view(lambda k, shape: nn.Linear(7, k), (7,))
    one.module.load_state_dict(net.module.used.state_dict())
    torch.testing.assert_close(Gradient("l1", "all")(net, both), Gradient("l1", "all")(one, both))


@pytest.mark.parametrize(("network", "shape"), [(MLP(width=8), (5,)), (NET, (2, 9)), (NET, (1, 7, 5))])
def test_samples_of_any_shape(network: object, shape: tuple[int, ...]) -> None:
    assert number(Gradient()(network_view(network, shape), pair(shape))) > 0


def test_unknown_choices_and_missing_layers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Gradient\(distance='l3'\) must be one of 'rows_cosine', 'mse'"):
        Gradient("l3")
    with pytest.raises(ValueError, match=r"Gradient\(layers='fc'\) must be one of 'weights', 'conv', 'all'"):
        Gradient(layers="fc")
    with pytest.raises(ValueError, match="layers='conv'\\): Chain has no such layers"):
        Gradient("l1", "conv")(network_view(MLP(width=8), (5,)), pair((5,)))
