"""rank_report and its statistics, zero-cost proxies, and the cascade."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nas_data
import numpy as np
import pytest
import torch
from nas_data import FINE, SMALLER, TOO_DEEP, objective, samples
from scipy import stats
from torch import nn

from condensed_data_nas import Stage, ZeroCost, cascade, rank_report, rank_statistics, zero_cost
from condensed_data_nas.report import CEILING

CONFIGS = [{"width": width} for width in range(40)]


def _noisy(spread: float, seed: int = 0) -> list[float]:
    return (np.arange(40) / 40 + np.random.default_rng(seed).normal(0, spread, 40)).tolist()


def test_correlations_with_ties_and_constant_sides() -> None:
    drawn = np.random.default_rng(0)
    first = drawn.integers(0, 9, 60).astype(float)
    second = first + drawn.integers(0, 9, 60)
    first[3] = -np.inf
    assert rank_statistics.spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert rank_statistics.kendall(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)
    assert rank_statistics.spearman(first, np.ones(60)) == rank_statistics.kendall(np.ones(60), first) == 0


def test_tops_recall_and_regret_computed_by_hand() -> None:
    reference, proxy = np.array([0.9, 0.8, 0.7, 0.1]), np.array([2.0, 3.0, 0.0, 1.0])
    assert rank_statistics.top(2, reference).tolist() == [0, 1]
    assert rank_statistics.recall(2)(proxy, reference) == 1
    assert rank_statistics.recall(3)(proxy, reference) == pytest.approx(2 / 3)
    assert rank_statistics.regret(proxy, reference) == pytest.approx(0.1)
    assert rank_statistics.top_spearman(2)(proxy, reference) == pytest.approx(-1)


def test_intervals_cover_and_shrink() -> None:
    """Over many draws of data, the interval covers the true correlation about as often as its level."""
    true, hits = 0.786, 0  # Spearman of a Gaussian correlation of 0.8: 6 / pi * asin(0.4)
    for seed in range(60):
        pair = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 80)
        interval = rank_statistics.estimate(rank_statistics.spearman, pair[:, 0], pair[:, 1], 150, 0)
        assert interval.low < interval.value < interval.high
        hits += interval.low <= true <= interval.high
    assert hits >= 50
    wide = rank_statistics.estimate(rank_statistics.spearman, np.array(_noisy(0.3)), np.arange(40.0), 200, 0)
    longer = np.concatenate([np.array(_noisy(0.3, seed)) for seed in range(20)])
    narrow = rank_statistics.estimate(rank_statistics.spearman, longer, np.tile(np.arange(40.0), 20), 200, 0)
    assert narrow.high - narrow.low < (wide.high - wide.low) / 2


def test_a_report_of_given_values(tmp_path: Path) -> None:
    reference = [value / 40 for value in range(40)]
    proxies: dict[str, Any] = {
        "close": _noisy(0.02),
        "far": _noisy(3.0),
        "width": lambda config: config["width"],
    }
    report = rank_report(CONFIGS, proxies, reference, draws=100, top_sizes=(5, 30, 50))
    assert report["width"].spearman.value == report["width"].kendall.value == 1
    assert report["width"].regret.value == 0
    assert report["close"].spearman.value > 0.95 > report["far"].spearman.value
    assert list(report["close"].top_spearman) == [5, 30]
    text = str(report)
    assert "Correlations among fewer than 30 best are mostly noise" in text
    assert "the noise of its ranking is unknown" in text
    report.to_csv(tmp_path / "deep" / "ranks.csv")
    with (tmp_path / "deep" / "ranks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["reference"]) for row in rows] == reference
    assert [float(row["close"]) for row in rows] == proxies["close"]
    assert report.plot(tmp_path / "ranks.png").size[0] > 600
    assert (tmp_path / "ranks.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(KeyError, match="'near' is not a proxy"):
        report["near"]


def test_a_report_of_trained_proxies() -> None:
    configs = [FINE, SMALLER, TOO_DEEP, {**FINE, "norm": "none"}, {**FINE, "depth": 1}]
    proxy = objective(epochs=2)
    report = rank_report(
        configs,
        {"condensed": proxy, **{name: name for name in zero_cost.SCORES}},
        proxy.trained_on(samples(20, 1), seeds=2, epochs=5),
        preparation_seconds={"condensed": 10.0},
        search_size=100,
        draws=50,
        top_sizes=(3,),
    )
    assert report.dropped == 1
    assert len(report.configs) == len(report.reference) == 4
    assert [row.name for row in report.rows] == [CEILING, "condensed", *zero_cost.SCORES]
    condensed = report["condensed"]
    assert condensed.seconds is not None
    assert report.reference_seconds is not None
    expected = 100 * report.reference_seconds / (10 + 100 * condensed.seconds)
    assert condensed.speed_up == pytest.approx(expected)
    assert condensed.values == tuple(proxy(dict(config)) for config in report.configs)
    assert "1 more could not be trained on the reference" in str(report)


def test_failures_of_a_proxy_are_ranked_last() -> None:
    def fails(config: dict[str, Any]) -> float:
        return -float("inf") if config["width"] > 20 else config["width"]

    report = rank_report(CONFIGS, {"half": fails}, [config["width"] / 40 for config in CONFIGS], draws=20)
    assert report["half"].failed == 19
    assert "half failed on 19" in str(report)
    assert report["half"].regret.value == pytest.approx(19 / 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"configs": CONFIGS[:2]}, "2 configurations"),
        ({"configs": [*CONFIGS, CONFIGS[0]]}, "40 of them different"),
        ({"proxies": {"short": [1.0]}}, "short has 1 values for 40"),
        ({"proxies": {"params": "params"}}, "needs networks"),
        ({"preparation_seconds": {"other": 1.0}}, r"preparation_seconds names \['other'\]"),
        ({"proxies": {CEILING: _noisy(1)}}, "cannot be called"),
    ],
)
def test_invalid_arguments_of_reports_are_refused(change: dict[str, Any], message: str) -> None:
    asked = {"configs": CONFIGS, "proxies": {"one": _noisy(1)}, "reference": _noisy(1), "draws": 5} | change
    with pytest.raises(ValueError, match=message):
        rank_report(**asked)


def test_synflow_of_a_linear_network_computed_by_hand() -> None:
    """R = 1' |W2| |W1| 1, and each layer's weights times their gradients sum to R (Tanaka et al., theorem 1)."""
    module = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    total = float((module[2].weight.abs() @ module[0].weight.abs()).sum().detach())
    assert zero_cost.synflow(module.eval(), torch.randn(5, 3)) == pytest.approx(2 * total, rel=1e-6)


def test_synflow_skips_normalization() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    normed = nn.Sequential(plain[0], nn.BatchNorm2d(4), plain[1], plain[2], plain[3])
    x = torch.randn(2, 1, 4, 4)
    assert zero_cost.synflow(normed.eval(), x) == zero_cost.synflow(plain.eval(), x)


def test_naswot_against_a_loop() -> None:
    module, x = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3)).eval(), torch.randn(8, 6)
    codes = (module[0](x) > 0).int().tolist()
    kernel = [
        [float(sum(one == other for one, other in zip(left, right, strict=True))) for right in codes] for left in codes
    ]
    expected = np.linalg.slogdet(np.array(kernel))[1]
    assert zero_cost.naswot(module, x) == pytest.approx(float(expected))
    with pytest.raises(ValueError, match="Linear has none"):
        zero_cost.naswot(nn.Linear(6, 3), x)


def test_zero_cost_scores_change_nothing(untouched_rng: None) -> None:
    chosen = objective()
    before = chosen(FINE)
    scores = {name: ZeroCost(name, chosen)(FINE) for name in zero_cost.SCORES}
    assert scores["params"] == chosen.measure(FINE).parameters
    assert scores["flops"] == chosen.measure(FINE).flops
    assert scores == {name: ZeroCost(name, objective())(FINE) for name in zero_cost.SCORES}
    assert objective()(FINE) == before
    assert ZeroCost("params", chosen)(TOO_DEEP) == -float("inf")
    with pytest.raises(KeyError):
        ZeroCost("params", objective(nas_data.plain_module))({})
    with pytest.raises(ValueError, match="Known: params, flops, synflow, naswot"):
        ZeroCost("zen", chosen)


def test_a_cascade_keeps_the_best_of_every_stage() -> None:
    configs = [FINE, SMALLER, TOO_DEEP, {**FINE, "depth": 1}, {**SMALLER, "depth": 1}]
    proxy = objective(epochs=2)
    whole = proxy.trained_on(samples(20, 1), epochs=3)
    result = cascade(configs, [Stage("size", "params", 3), Stage("condensed", proxy, 2), Stage("whole", whole, 1)])
    assert [len(results) for results in result.results] == [5, 3, 2]
    sizes = sorted((ZeroCost("params", proxy)(config) for config in configs), reverse=True)[:3]
    assert sorted(ZeroCost("params", proxy)(one.config) for one in result.results[1]) == sorted(sizes)
    values = {str(one.config): one.value for one in result.results[2]}
    assert result.kept[0].value == max(values.values())
    assert result.seconds > 0
    assert "size: 5 -> 3 configurations" in str(result)
    with pytest.raises(ValueError, match="Every configuration failed in stage 'condensed'"):
        cascade([TOO_DEEP], [Stage("condensed", proxy, 1)])
    with pytest.raises(ValueError, match="Give a ProxyObjective in another stage"):
        cascade(configs, [Stage("size", "params", 1)])
