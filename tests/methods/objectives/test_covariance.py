"""Covariance and Centralization equal loops over samples and features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import oracles_objectives as oracles
import pytest
import torch
from oracles_objectives import NET, Rows, batch, embedded, network_view, pair
from torch import Tensor, nn

from condensed_data.core.batch import Pair
from condensed_data.methods.base import Objective
from condensed_data.methods.objectives import (
    Centralization,
    Covariance,
)
from condensed_data.networks import MLP


def expected_covariance(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> float:
    total = 0.0
    for a, b in zip(real, synthetic, strict=True):
        first, second = oracles.covariance(a.flatten(2)), oracles.covariance(b.flatten(2))
        total += sum(oracles.squared_distance(x, y) for x, y in zip(first, second, strict=True))
    return total


@pytest.mark.parametrize("weight", [0.01, 3.0])
def test_covariance_equals_the_loops(weight: float) -> None:
    net, both = network_view(NET), pair()
    real, synthetic = (side.split(net.feature_maps(side.x)[-1]) for side in (both.real, both.synthetic))
    value = weight * expected_covariance(real, synthetic)
    assert float(Covariance(weight)(net, both)) == pytest.approx(value, rel=1e-10)


def test_covariance_of_maps_without_locations_and_of_named_layers() -> None:
    net, both = network_view(MLP(width=6), (5,)), pair((5,))
    real, synthetic = (side.split(net.embed(side.x)[..., None]) for side in (both.real, both.synthetic))
    value = expected_covariance(real, synthetic)
    assert float(Covariance(1.0)(net, both)) == pytest.approx(value, rel=1e-10)

    plain = network_view(lambda k, shape: nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(12, k)), (2, 6))
    both = pair((2, 6))
    real, synthetic = (side.split(plain.module[0](side.x)) for side in (both.real, both.synthetic))
    value = expected_covariance(real, synthetic)
    assert float(Covariance(1.0, layers=("0",))(plain, both)) == pytest.approx(value, rel=1e-10)


def test_covariances_ignore_a_shift_of_all_maps() -> None:
    net, side = (
        network_view(lambda k, shape: nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(12, k)), (2, 6)),
        batch((3, 2), 1, (2, 6)),
    )
    moved = Pair(side, replace(side, x=side.x + torch.arange(12.0).view(2, 6)))
    assert float(Covariance(1.0, layers=("0",))(net, moved)) < 1e-20


def expected_centralization(rows: Rows, center: list[float], form: str, alpha: float, beta: float) -> float:
    squares = [oracles.squared_distance(row, center) for row in rows]
    if form == "linear":
        return sum(squares)
    return sum(max(0.0, math.exp(alpha * square) - beta) for square in squares)


@pytest.mark.parametrize("centers", ["synthetic", "real"])
@pytest.mark.parametrize(
    ("form", "alpha", "beta"), [("linear", 1, 1), ("exponential", 0.02, 1), ("exponential", 0.3, 1.6)]
)
def test_centralization_equals_the_loops(form: str, alpha: float, beta: float, centers: str) -> None:
    net, both = network_view(NET), pair()
    real = [[sum(column) / len(rows) for column in zip(*rows, strict=True)] for rows in embedded(net, both.real)]
    net = replace(net, centers=torch.tensor(real, dtype=torch.float64))
    total = 0.0
    for label, rows in enumerate(embedded(net, both.synthetic)):
        own = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        center = own if centers == "synthetic" else real[label]
        total += expected_centralization(rows, center, form, alpha, beta)
    loss = Centralization(alpha, beta, form, centers)(net, both)
    assert float(loss) == pytest.approx(total, rel=1e-9)
    assert total > 0


def test_beta_ignores_samples_near_the_center() -> None:
    net, both = network_view(NET), pair()
    assert float(Centralization(beta=1e6, form="exponential")(net, both)) == 0
    rows = both.synthetic.split(both.synthetic.x)
    equal = replace(both.synthetic, x=torch.cat([block[:1].expand_as(block) for block in rows]))
    assert float(Centralization(form="exponential")(net, replace(both, synthetic=equal))) < 1e-20
    found = Centralization(beta=0.5, form="exponential")(net, replace(both, synthetic=equal))
    assert float(found) == pytest.approx(7 * 0.5)


@pytest.mark.parametrize("form", ["linear", "exponential"])
def test_the_slope_is_the_derivative_of_a_sample(form: str) -> None:
    objective, step = Centralization(0.3, form=form), 1e-6
    for square in (0.1, 3.0, 10.0):
        sides = [[math.sqrt(square + change)] for change in (-step, step)]
        low, high = (expected_centralization([side], [0.0], form, 0.3, 1) for side in sides)
        assert objective.slope(square) == pytest.approx((high - low) / (2 * step), rel=1e-6)


def test_real_centers_are_those_of_the_likeliest_class_of_a_soft_label() -> None:
    net, both = network_view(NET), pair()
    centers = torch.randn(3, net.embed(both.real.x).shape[1], dtype=torch.float64)
    net = replace(net, centers=centers)
    soft = replace(both, synthetic=replace(both.synthetic, y=torch.eye(3)[both.synthetic.y] * 0.7 + 0.1))
    objective = Centralization(form="linear", centers="real")
    assert torch.equal(objective(net, soft), objective(net, both))


@pytest.mark.parametrize(
    ("objective", "remedy"),
    [(Covariance(), "Use ipc=2 or more"), (Centralization(), "Use centers='real', ipc=2 or more")],
)
def test_a_single_synthetic_sample_is_refused(objective: Objective, remedy: str) -> None:
    net, both = network_view(NET), Pair(batch((3, 3), 1), batch((2, 1), 2))
    for attempt in (lambda: objective.check_sizes((3, 3), (2, 1)), lambda: objective(net, both)):
        with pytest.raises(ValueError, match=rf"at least two synthetic samples.*has 1.*{remedy}"):
            attempt()
    Centralization(centers="real").check_sizes((3, 3), (2, 1))


def test_real_centers_need_a_pool_that_has_them() -> None:
    with pytest.raises(ValueError, match=r"Cannot use Centralization.*Use the Pretrained pool"):
        Centralization(centers="real")(network_view(NET), pair())


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        (Covariance, {"weight": -1}, r"Covariance\(weight=-1\) must be at least 0"),
        (Centralization, {"form": "log"}, r"Centralization\(form='log'\) must be one of 'linear'"),
        (
            Centralization,
            {"centers": "mean"},
            r"Centralization\(centers='mean'\) must be one of 'synthetic', 'real'",
        ),
        (Centralization, {"alpha": 0}, r"Centralization\(alpha=0\) must be positive"),
        (Centralization, {"beta": math.nan}, r"Centralization\(beta=nan\) must be a finite number"),
    ],
)
def test_arguments_out_of_range_are_refused(part: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        part(**fields)
