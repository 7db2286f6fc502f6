"""Distribution matching against its equation, in double precision."""

from __future__ import annotations

import oracles
import pytest
import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.methods.objectives import Distribution
from condensed_data.networks import MLP, ConvNet

EQUAL = (6, 6, 6), (2, 2, 2)
UNEQUAL = (7, 1, 4), (3, 2, 1)


def network_view(spec: networks.NetworkFunction, shape: tuple[int, ...], micro_batch: int | None = None) -> NetworkView:
    """A network in double precision, frozen as pools provide it."""
    module = networks.build(spec, num_classes=3, sample_shape=shape, seed=5).double().requires_grad_(False)
    return NetworkView(module, networks.embed_of(module), networks.feature_maps_of(module), micro_batch=micro_batch)


def convnet(micro_batch: int | None = None) -> NetworkView:
    return network_view(ConvNet(width=4, depth=2), (2, 8, 6), micro_batch)


def side(sizes: tuple[int, ...], shape: tuple[int, ...] = (2, 8, 6), seed: int = 0) -> Batch:
    x = torch.randn(sum(sizes), *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return Batch(x + labels.view(-1, *[1] * len(shape)), labels, sizes)


def learned(batch: Batch) -> Batch:
    return Batch(batch.x.clone().requires_grad_(), batch.y, batch.sizes)


def assert_equal(ours: Tensor, oracle: Tensor) -> None:
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, oracle, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("micro_batch", [None, 3])
@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL])
def test_loss_and_gradient_equal_the_equation(sizes: tuple[tuple[int, ...], ...], micro_batch: int | None) -> None:
    net = convnet(micro_batch)
    real, synthetic = side(sizes[0]), learned(side(sizes[1], seed=1))
    loss = Distribution()(net, Pair(real, synthetic))
    oracle = oracles.dm_loss(net.module.embed, real.split(real.x), synthetic.split(synthetic.x))
    assert_equal(loss, oracle)
    gradient, expected = (torch.autograd.grad(value, synthetic.x)[0] for value in (loss, oracle))
    assert float(expected.abs().max()) > 1e-3
    assert_equal(gradient, expected)


@pytest.mark.parametrize(("spec", "shape"), [(ConvNet(width=4, depth=1), (2, 12)), (MLP(width=5), (7,))])
def test_signals_and_vectors(spec: networks.NetworkFunction, shape: tuple[int, ...]) -> None:
    net = network_view(spec, shape)
    real, synthetic = side((3, 2), shape), side((1, 2), shape, seed=1)
    oracle = oracles.dm_loss(net.module.embed, real.split(real.x), synthetic.split(synthetic.x))
    assert_equal(Distribution()(net, Pair(real, synthetic)), oracle)


def test_gradient_equals_central_differences() -> None:
    net, real, synthetic = convnet(), side(UNEQUAL[0]), learned(side(UNEQUAL[1], seed=1))
    (gradient,) = torch.autograd.grad(Distribution()(net, Pair(real, synthetic)), synthetic.x)
    step = 1e-5
    for pixel in ((0, 0, 0, 0), (2, 1, 3, 4), (5, 0, 7, 5)):
        losses = []
        for sign in (1, -1):
            moved = synthetic.x.detach().clone()
            moved[pixel] += sign * step
            losses.append(Distribution()(net, Pair(real, Batch(moved, synthetic.y, synthetic.sizes))))
        difference = float(losses[0] - losses[1]) / (2 * step)
        assert difference == pytest.approx(float(gradient[pixel]), rel=1e-5, abs=1e-7)


def test_the_order_of_samples_in_a_class_does_not_matter() -> None:
    net, real, synthetic = convnet(), side(EQUAL[0]), side(EQUAL[1], seed=1)
    order = torch.tensor([3, 5, 0, 1, 4, 2, 8, 6, 11, 10, 7, 9, 17, 12, 13, 16, 14, 15])
    shuffled = Batch(real.x[order], real.y[order], real.sizes)
    assert_equal(Distribution()(net, Pair(shuffled, synthetic)), Distribution()(net, Pair(real, synthetic)))


def test_classes_add_up() -> None:
    net, real, synthetic = convnet(), side(UNEQUAL[0]), side(UNEQUAL[1], seed=1)
    alone = [
        Distribution()(net, Pair(Batch(a, a, (len(a),)), Batch(b, b, (len(b),))))
        for a, b in zip(real.split(real.x), synthetic.split(synthetic.x), strict=True)
    ]
    assert_equal(Distribution()(net, Pair(real, synthetic)), torch.stack(alone).sum())


def test_equal_samples_have_zero_loss_and_gradient() -> None:
    net, real = convnet(), side(EQUAL[0])
    synthetic = learned(real)
    loss = Distribution()(net, Pair(real, synthetic))
    assert float(loss.detach()) == 0
    assert float(torch.autograd.grad(loss, synthetic.x)[0].abs().max()) == 0
    twice = Batch(real.x.repeat_interleave(2, 0), real.y.repeat_interleave(2), (12, 12, 12))
    assert float(Distribution()(net, Pair(real, twice))) < 1e-20  # the number of samples does not matter


def test_the_loss_is_a_sum_of_squares() -> None:
    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * x.flatten(1)

    module = Linear()
    net = NetworkView(module, module, lambda x: (module(x),))
    real, synthetic = side((2, 5), (4,)), side((3, 3), (4,), seed=1)
    loss = Distribution()(net, Pair(real, synthetic))
    means = [torch.stack([rows.mean(0) for rows in batch.split(batch.x)]) for batch in (real, synthetic)]
    assert_equal(loss, 9 * (means[0] - means[1]).square().sum())  # nothing divides it
    twice = [Batch(2 * batch.x, batch.y, batch.sizes) for batch in (real, synthetic)]
    assert_equal(Distribution()(net, Pair(*twice)), 4 * loss)


def test_the_real_side_needs_no_gradient() -> None:
    net, real, synthetic = convnet(), learned(side(EQUAL[0])), learned(side(EQUAL[1], seed=1))
    loss = Distribution()(net, Pair(real, synthetic))
    gradients = torch.autograd.grad(loss, [real.x, synthetic.x], allow_unused=True)
    assert gradients[0] is None
    assert gradients[1] is not None
    assert all(weight.grad is None for weight in net.module.parameters())


def test_half_precision_is_averaged_in_single() -> None:
    rows = (torch.arange(4096) < 1229).bfloat16()[:, None]
    means = Batch(rows, rows, (4096,)).means(rows)
    assert means.dtype == torch.float32
    assert float(means) == 1229 / 4096  # bfloat16 would round it to 0.3008


def test_networks_in_single_precision_give_single_precision() -> None:
    net = convnet(micro_batch=2)
    net.module.float()
    with torch.no_grad():
        embedding = net.embed(side((3,)).x.float())
    assert embedding.dtype == torch.float32
    assert embedding.shape == (3, 4 * 2 * 1)
