"""Covariance, centralization, kernel MMD and characteristic functions equal loops over samples and features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import oracles_objectives as oracles
import pytest
import torch
from oracles_objectives import NET, Rows, batch, blocks, embedded, lent, pair, shuffled
from sources import real as real_of
from torch import Tensor, nn

from condensed_data.core.rng import RandomStreams
from condensed_data.methods.base import Batch, Objective, Pair
from condensed_data.methods.objectives import (
    Centralization,
    CharacteristicFunction,
    Covariance,
    Distribution,
    KernelMMD,
)
from condensed_data.networks import MLP, ConvNet
from condensed_data.training.context import Context

SMOOTH = ConvNet(width=3, depth=1, activation="sigmoid")

OBJECTIVES: list[Objective] = [
    Covariance(),
    Centralization(),
    Centralization(alpha=20.0),  # steep: here the gradient through the center matters
    Centralization(form="simplified"),
    KernelMMD(),
    KernelMMD("polynomial"),
    CharacteristicFunction(64),
    CharacteristicFunction(64, alpha=0.8),
]


def expected_covariance(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> float:
    total = 0.0
    for a, b in zip(real, synthetic, strict=True):
        first, second = oracles.covariance(a.flatten(2)), oracles.covariance(b.flatten(2))
        total += sum(oracles.squared_distance(x, y) for x, y in zip(first, second, strict=True))
    return total


@pytest.mark.parametrize("weight", [0.01, 3.0])
def test_covariance_equals_the_loops(weight: float) -> None:
    net, both = lent(NET), pair()
    real, synthetic = (side.split(net.feature_maps(side.x)[-1]) for side in (both.real, both.synthetic))
    value = weight * expected_covariance(real, synthetic)
    assert float(Covariance(weight)(net, both)) == pytest.approx(value, rel=1e-10)


def test_covariance_of_maps_without_locations_and_of_named_layers() -> None:
    net, both = lent(MLP(width=6), (5,)), pair((5,))
    real, synthetic = (side.split(net.embed(side.x)[..., None]) for side in (both.real, both.synthetic))
    value = expected_covariance(real, synthetic)
    assert float(Covariance(1.0)(net, both)) == pytest.approx(value, rel=1e-10)

    plain = lent(lambda k, shape: nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(12, k)), (2, 6))
    both = pair((2, 6))
    real, synthetic = (side.split(plain.module[0](side.x)) for side in (both.real, both.synthetic))
    value = expected_covariance(real, synthetic)
    assert float(Covariance(1.0, layers=("0",))(plain, both)) == pytest.approx(value, rel=1e-10)


def test_a_shift_of_all_maps_leaves_covariances_alone() -> None:
    net, side = (
        lent(lambda k, shape: nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(12, k)), (2, 6)),
        batch((3, 2), 1, (2, 6)),
    )
    moved = Pair(side, replace(side, x=side.x + torch.arange(12.0).view(2, 6)))
    assert float(Covariance(1.0, layers=("0",))(net, moved)) < 1e-20


def expected_centralization(rows: Rows, center: list[float], form: str, alpha: float, beta: float) -> float:
    squares = [oracles.squared_distance(row, center) for row in rows]
    if form == "simplified":
        return sum(squares)
    return sum(max(0.0, math.exp(alpha * square) - beta) for square in squares)


@pytest.mark.parametrize("centers", ["synthetic", "real"])
@pytest.mark.parametrize(
    ("form", "alpha", "beta"), [("simplified", 1, 1), ("exponential", 0.02, 1), ("exponential", 0.3, 1.6)]
)
def test_centralization_equals_the_loops(form: str, alpha: float, beta: float, centers: str) -> None:
    net, both = lent(NET), pair()
    real = [
        [sum(column) / len(rows) for column in zip(*rows, strict=True)] for rows in embedded(net, both.real)
    ]
    net = replace(net, centers=torch.tensor(real, dtype=torch.float64))
    total = 0.0
    for label, rows in enumerate(embedded(net, both.synthetic)):
        own = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        center = own if centers == "synthetic" else real[label]
        total += expected_centralization(rows, center, form, alpha, beta)
    loss = Centralization(alpha, beta, form, centers)(net, both)
    assert float(loss) == pytest.approx(total, rel=1e-9)
    assert total > 0


def test_beta_leaves_samples_near_the_center_alone() -> None:
    net, both = lent(NET), pair()
    assert float(Centralization(beta=1e6)(net, both)) == 0
    rows = both.synthetic.split(both.synthetic.x)
    equal = replace(both.synthetic, x=torch.cat([block[:1].expand_as(block) for block in rows]))
    assert float(Centralization()(net, replace(both, synthetic=equal))) < 1e-20
    assert float(Centralization(beta=0.5)(net, replace(both, synthetic=equal))) == pytest.approx(7 * 0.5)


def test_real_centers_are_those_of_the_likeliest_class_of_a_soft_label() -> None:
    net, both = lent(NET), pair()
    centers = torch.randn(3, net.embed(both.real.x).shape[1], dtype=torch.float64)
    net = replace(net, centers=centers)
    soft = replace(both, synthetic=replace(both.synthetic, y=torch.eye(3)[both.synthetic.y] * 0.7 + 0.1))
    objective = Centralization(form="simplified", centers="real")
    assert torch.equal(objective(net, soft), objective(net, both))


KERNELS: dict[str, Any] = {
    "linear": lambda width, size: lambda a, b: sum(x * y for x, y in zip(a, b, strict=True)),
    "polynomial": lambda width, size: (
        lambda a, b: (sum(x * y for x, y in zip(a, b, strict=True)) / size + 1) ** 2
    ),
    "gaussian": lambda width, size: (
        lambda a, b: (
            sum(math.exp(-oracles.squared_distance(a, b) / (scale * width)) for scale in (0.25, 0.5, 1, 2, 4))
            / 5
        )
    ),
}


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_kernel_mmd_equals_the_loops(kernel: str) -> None:
    net, both = lent(NET), pair()
    total = 0.0
    for real, synthetic in blocks(net, both):
        width = sum(oracles.squared_distance(a, b) for a in real for b in real) / len(real) ** 2
        total += oracles.mmd(KERNELS[kernel](width, len(real[0])), real, synthetic)
    assert float(KernelMMD(kernel)(net, both)) == pytest.approx(total, rel=1e-8)


def test_other_scales_and_degrees() -> None:
    net, both = lent(NET), pair()
    total = 0.0
    for real, synthetic in blocks(net, both):
        width = sum(oracles.squared_distance(a, b) for a in real for b in real) / len(real) ** 2
        kernel = lambda a, b, w=width: math.exp(-oracles.squared_distance(a, b) / (0.7 * w))  # noqa: E731
        total += oracles.mmd(kernel, real, synthetic)
    assert float(KernelMMD(scales=(0.7,))(net, both)) == pytest.approx(total, rel=1e-8)
    cubic = sum(
        oracles.mmd(lambda a, b: (sum(x * y for x, y in zip(a, b, strict=True)) / len(a) + 1) ** 3, *block)
        for block in blocks(net, both)
    )
    assert float(KernelMMD("polynomial", degree=3)(net, both)) == pytest.approx(cubic, rel=1e-8)


def test_the_linear_kernel_is_distribution_matching() -> None:
    net, both = lent(NET), pair()
    torch.testing.assert_close(KernelMMD("linear")(net, both), Distribution()(net, both))


def test_a_gaussian_kernel_sees_a_spread_that_means_do_not() -> None:
    net = lent(lambda k, shape: nn.Linear(3, k), (3,))
    side = batch((6, 6), 1, (3,))
    means = side.means(side.x).repeat_interleave(6, 0)
    wider = Pair(side, replace(side, x=means + 2 * (side.x - means)))
    assert float(Distribution()(net, wider)) < 1e-20
    assert float(KernelMMD()(net, wider)) > 0.01


def test_single_real_samples_have_no_width_and_no_nan() -> None:
    net, side = lent(NET), batch((1, 1), 1)
    assert float(KernelMMD()(net, Pair(side, side))) == 0
    assert 0 < float(KernelMMD()(net, Pair(side, batch((2, 2), 2)))) < 4


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_characteristic_functions_equal_the_loops(alpha: float) -> None:
    net, both = lent(NET), replace(pair(), iteration=3)
    size = net.embed(both.real.x).shape[1]
    t = torch.randn(11, size, generator=RandomStreams(0).torch("frequencies", 3)).tolist()
    total = sum(oracles.characteristic_distance(*block, t, alpha) for block in blocks(net, both))
    assert float(CharacteristicFunction(11, alpha)(net, both)) == pytest.approx(total, rel=1e-8)


def test_frequencies_follow_from_seed_and_iteration(untouched_rng: None) -> None:
    net, both = lent(NET), pair()
    source = real_of(torch.zeros(4, 1, 2, 2))
    first, again, other = (
        CharacteristicFunction(8).start(Context(source, 1, RandomStreams(seed), torch.device("cpu")))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first(net, both), again(net, both))
    assert not torch.equal(first(net, both), other(net, both))
    assert not torch.equal(first(net, both), first(net, replace(both, iteration=1)))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_differentiable_invariant_to_order_and_pieces(objective: Objective) -> None:
    net, both = lent(SMOOTH, (1, 4, 4)), pair((1, 4, 4))

    def loss(x: Tensor) -> Tensor:
        return objective(net, replace(both, synthetic=replace(both.synthetic, x=x)))

    x = both.synthetic.x.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (x,))
    other = Pair(shuffled(both.real), shuffled(both.synthetic))
    for rows in (1, 3, None):
        torch.testing.assert_close(
            objective(replace(net, micro_batch=rows), other), loss(x), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_groups_add_up_and_the_real_side_has_no_graph(objective: Objective) -> None:
    net, both = lent(SMOOTH), pair()
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
    net, side = lent(NET), batch((3, 2), 1)
    net.module.to(dtype)
    side = replace(side, x=side.x.to(dtype))
    x = side.x.clone().requires_grad_()
    loss = objective(net, Pair(side, replace(side, x=x)))
    (gradient,) = torch.autograd.grad(loss, x)
    small = 1e-5 if dtype == torch.float32 else 1e-12
    assert abs(float(loss.detach())) < small
    assert float(gradient.abs().max()) < small


@pytest.mark.parametrize(
    ("objective", "remedy"),
    [(Covariance(), "Use ipc=2 or more"), (Centralization(), "Use centers='real', ipc=2 or more")],
)
def test_a_single_synthetic_sample_is_refused(objective: Objective, remedy: str) -> None:
    net, both = lent(NET), Pair(batch((3, 3), 1), batch((2, 1), 2))
    for attempt in (lambda: objective.check_sizes((3, 3), (2, 1)), lambda: objective(net, both)):
        with pytest.raises(ValueError, match=rf"at least two synthetic samples.*has 1.*{remedy}"):
            attempt()
    Centralization(centers="real").check_sizes((3, 3), (2, 1))


def test_real_centers_need_a_pool_that_knows_them() -> None:
    with pytest.raises(ValueError, match=r"Cannot use Centralization.*Use the Pretrained pool"):
        Centralization(centers="real")(lent(NET), pair())


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        (Covariance, {"weight": -1}, r"Covariance\(weight=-1\) must be at least 0"),
        (Centralization, {"form": "log"}, r"Centralization\(form='log'\) is unknown; known: exponential"),
        (Centralization, {"centers": "mean"}, r"Centralization\(centers='mean'\) is unknown"),
        (Centralization, {"alpha": 0}, r"Centralization\(alpha=0\) must be positive"),
        (Centralization, {"beta": math.nan}, r"Centralization\(beta=nan\) must be finite"),
        (KernelMMD, {"kernel": "cubic"}, r"KernelMMD\(kernel='cubic'\) is unknown; known: gaussian"),
        (KernelMMD, {"scales": ()}, r"KernelMMD\(scales=\(\)\) must hold positive"),
        (KernelMMD, {"scales": (1, -2)}, r"KernelMMD\(scales=\(1, -2\)\) must hold positive"),
        (KernelMMD, {"degree": 1.5}, r"KernelMMD\(degree=1.5\) must be an integer"),
        (CharacteristicFunction, {"frequencies": 0}, r"frequencies=0\) must be an integer of at least 1"),
        (CharacteristicFunction, {"alpha": 1.1}, r"alpha=1.1\) must be between 0 and 1"),
    ],
)
def test_arguments_out_of_range_are_said(part: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        part(**fields)
