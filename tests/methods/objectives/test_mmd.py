"""KernelMMD equals loops over pairs of samples."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import oracles_objectives as oracles
import pytest
import torch
from oracles_objectives import NET, batch, blocks, network_view, pair
from torch import nn

from condensed_data.core.batch import Pair
from condensed_data.methods.objectives import (
    Distribution,
    KernelMMD,
)

KERNELS: dict[str, Any] = {
    "linear": lambda width, size: lambda a, b: sum(x * y for x, y in zip(a, b, strict=True)),
    "polynomial": lambda width, size: lambda a, b: (sum(x * y for x, y in zip(a, b, strict=True)) / size + 1) ** 2,
    "gaussian": lambda width, size: (
        lambda a, b: sum(math.exp(-oracles.squared_distance(a, b) / (scale * width)) for scale in (0.25, 0.5, 1, 2, 4))
    ),
}


def mean_squared_distance(rows: list[Any]) -> float:
    total = sum(oracles.squared_distance(a, b) for a in rows for b in rows)
    return total / (len(rows) * (len(rows) - 1))


@pytest.mark.parametrize("kernel", list(KERNELS))
def test_kernel_mmd_equals_the_loops(kernel: str) -> None:
    net, both = network_view(NET), pair()
    total = 0.0
    for real, synthetic in blocks(net, both):
        width = mean_squared_distance([*real, *synthetic])
        total += oracles.mmd(KERNELS[kernel](width, len(real[0])), real, synthetic)
    assert float(KernelMMD(kernel)(net, both)) == pytest.approx(total, rel=1e-8)


def test_other_scales_and_degrees() -> None:
    net, both = network_view(NET), pair()
    total = 0.0
    for real, synthetic in blocks(net, both):
        width = mean_squared_distance([*real, *synthetic])
        kernel = lambda a, b, w=width: math.exp(-oracles.squared_distance(a, b) / (0.7 * w))  # noqa: E731
        total += oracles.mmd(kernel, real, synthetic)
    assert float(KernelMMD(scales=(0.7,))(net, both)) == pytest.approx(total, rel=1e-8)
    cubic = sum(
        oracles.mmd(lambda a, b: (sum(x * y for x, y in zip(a, b, strict=True)) / len(a) + 1) ** 3, *block)
        for block in blocks(net, both)
    )
    assert float(KernelMMD("polynomial", degree=3)(net, both)) == pytest.approx(cubic, rel=1e-8)


def test_the_linear_kernel_is_distribution_matching() -> None:
    net, both = network_view(NET), pair()
    torch.testing.assert_close(KernelMMD("linear")(net, both), Distribution()(net, both))


def test_a_gaussian_kernel_detects_a_spread_that_means_do_not() -> None:
    net = network_view(lambda k, shape: nn.Linear(3, k), (3,))
    side = batch((6, 6), 1, (3,))
    means = side.means(side.x).repeat_interleave(6, 0)
    wider = Pair(side, replace(side, x=means + 2 * (side.x - means)))
    assert float(Distribution()(net, wider)) < 1e-20
    assert float(KernelMMD()(net, wider)) > 0.01


def test_single_real_samples_have_no_width_and_no_nan() -> None:
    net, side = network_view(NET), batch((1, 1), 1)
    assert float(KernelMMD()(net, Pair(side, side))) == 0
    assert 0 < float(KernelMMD()(net, Pair(side, batch((2, 2), 2)))) < 20


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        (KernelMMD, {"kernel": "cubic"}, r"KernelMMD\(kernel='cubic'\) must be one of 'gaussian'"),
        (KernelMMD, {"scales": ()}, r"KernelMMD\(scales=\(\)\) must hold positive"),
        (KernelMMD, {"scales": (1, -2)}, r"KernelMMD\(scales=\(1, -2\)\) must hold positive"),
        (KernelMMD, {"degree": 1.5}, r"KernelMMD\(degree=1.5\) must be an integer"),
    ],
)
def test_arguments_out_of_range_are_refused(part: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        part(**fields)
