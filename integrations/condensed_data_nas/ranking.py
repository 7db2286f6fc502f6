"""Measures how far the ranking of architectures by a proxy can be trusted, next to every other proxy.

    report = rank_report(
        configs,
        proxies={"condensed": objective, "random": other, "early-stop": early, "params": "params"},
        reference=objective.trained_on(train_set, seeds=2),
        preparation_seconds={"condensed": condensing_seconds},
    )
    print(report); report.to_csv("ranks.csv"); report.plot("ranks.png")

The correlation among a few best is mostly noise: of 720 architectures and a proxy of global correlation 0.8, that of
the five best has mean 0.25 and deviation 0.5 (simulated). So it comes with its interval, and the report starts with
what matters: the correlation over all, and the regret.

Letters: n configurations.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from condensed_data.core.annotations import Count, Natural, checked
from condensed_data.core.torch_settings import own_settings
from condensed_data_nas.objective import ProxyObjective
from condensed_data_nas.rank_statistics import (
    MIN_CONFIGS,
    Estimate,
    Statistic,
    Values,
    estimate,
    kendall,
    recall,
    regret,
    spearman,
    top_spearman,
)
from condensed_data_nas.report import CEILING, ProxyRow, RankReport
from condensed_data_nas.space import Config, key_of
from condensed_data_nas.trial_result import Result
from condensed_data_nas.zero_cost import ZeroCost, zero_cost_proxy

Proxy = ProxyObjective | ZeroCost | str | Callable[[dict[str, Any]], float] | Mapping[str, float] | Sequence[Any]


@own_settings()
@checked
def rank_report(
    configs: Iterable[Config],
    proxies: Mapping[str, Proxy],
    reference: Proxy,
    *,
    preparation_seconds: Mapping[str, float] | None = None,
    top_sizes: Sequence[Count] = (5, 10, 30),
    search_size: Count | None = None,
    draws: Count = 1000,
    seed: Natural = 0,
    executor: Executor | None = None,
    journal: str | Path | None = None,
    progress: bool = False,
) -> RankReport:
    """Rank configurations by proxies and by a reference, and compare the rankings.

    Args:
        configs: at least three, all different.
        proxies: by name: a `ProxyObjective`; a `ZeroCost`, or the name of one ("params", "flops", "synflow", "naswot");
            a function of a configuration; or values, in the order of the configurations. Larger is better.
        reference: likewise; a `ProxyObjective` with seeds >= 2 also gives the ceiling, "other seed": how well one
            network per configuration of the reference predicts another.
        preparation_seconds: by name, such as those of condensing.
        top_sizes: numbers of best configurations to analyze; those above n are left out.
        search_size: number of configurations of the search for which speed-ups are given; by default n.
        draws: bootstrap draws for the intervals.
        seed: of these draws.
        executor, journal, progress: see `ProxyObjective.evaluate_many`.

    Raises:
        ValueError: for fewer than three configurations, equal ones, values of another number, or an unknown name.
    """
    listed, preparation = [dict(config) for config in configs], preparation_seconds or {}
    _check(listed, proxies, preparation)
    options = {"executor": executor, "journal": journal, "progress": progress}
    everything = (*proxies.values(), reference)
    measured = _results(listed, "reference", reference, everything, options)
    keep = [index for index, result in enumerate(measured) if not result.failed]
    if len(keep) < MIN_CONFIGS:
        raise ValueError(
            f"The reference measured only {len(keep)} of {len(measured)} configurations, but at least {MIN_CONFIGS} "
            f"are needed. The first failed with: {measured[0].error}"
        )
    truth = [measured[index] for index in keep]
    sizes = tuple(size for size in top_sizes if size <= len(keep))
    cost = _mean_seconds([result.seconds / len(result.values) for result in truth])
    comparison = _Comparison(sizes, draws, seed, search_size or len(keep), cost)
    target, rows = _values(truth), []
    runs = min(len(result.values) for result in truth)
    if runs > 1:
        first, other = (np.array([result.values[run] for result in truth]) for run in (0, 1))
        rows.append(comparison.row(CEILING, other, first, cost, 0.0))
    for name, proxy in proxies.items():
        results = _results(listed, name, proxy, everything, options)
        kept = [results[index] for index in keep]
        seconds = _mean_seconds([result.seconds for result in kept])
        rows.append(comparison.row(name, _values(kept), target, seconds, preparation.get(name, 0.0)))
    return RankReport(
        tuple(listed[index] for index in keep),
        tuple(target.tolist()),
        tuple(rows),
        comparison.search_size,
        len(listed) - len(keep),
        cost,
        runs,
    )


@dataclass(frozen=True)
class _Comparison:
    """How proxies are compared, see `rank_report`; `cost` is the seconds of one network on the reference."""

    sizes: tuple[int, ...]
    draws: int
    seed: int
    search_size: int
    cost: float | None

    def row(self, name: str, values: Values, target: Values, seconds: float | None, preparation: float) -> ProxyRow:
        """The row of one proxy; values and target (n,) are its own and the reference's, seconds per configuration."""

        def estimated(statistic: Statistic) -> Estimate:
            return estimate(statistic, values, target, self.draws, self.seed)

        speed_up = None
        if seconds is not None and self.cost is not None:
            speed_up = self.cost * self.search_size / max(preparation + seconds * self.search_size, 1e-9)
        return ProxyRow(
            name,
            tuple(values.tolist()),
            estimated(spearman),
            estimated(kendall),
            {size: estimated(top_spearman(size)) for size in self.sizes},
            {size: estimated(recall(size)) for size in self.sizes},
            estimated(regret),
            seconds,
            preparation,
            speed_up,
            int(np.isinf(values).sum()),
        )


def _check(configs: Sequence[Config], proxies: Mapping[str, Proxy], preparation: Mapping[str, float]) -> None:
    keys = [key_of(config) for config in configs]
    if len(keys) < MIN_CONFIGS or len(set(keys)) < len(keys):
        raise ValueError(
            f"configs holds {len(keys)} configurations, {len(set(keys))} of them different. Give at least "
            f"{MIN_CONFIGS}, all different."
        )
    unknown = sorted(preparation.keys() - proxies.keys())
    if unknown:
        raise ValueError(f"preparation_seconds names {unknown}, which are not among the proxies: {', '.join(proxies)}.")
    if CEILING in proxies:
        raise ValueError(
            f"A proxy cannot be called {CEILING!r}, the name of the reference's ceiling. Use another name."
        )


def _results(
    configs: Sequence[dict[str, Any]],
    name: str,
    proxy: Proxy,
    everything: Sequence[Proxy],
    options: Mapping[str, Any],
) -> list[Result]:
    """The result of every configuration by a proxy; one of `everything` builds the networks of a zero-cost proxy."""
    if isinstance(proxy, str):
        proxy = zero_cost_proxy(f"{name}={proxy!r}", proxy, everything, "among the proxies")
    if isinstance(proxy, ProxyObjective):
        return proxy.evaluate_many(configs, **options)
    if isinstance(proxy, ZeroCost):
        return [proxy.measure(config) for config in configs]
    if callable(proxy):
        return [Result(config, (float(proxy(config)),)) for config in configs]
    values = [proxy[key_of(config)] for config in configs] if isinstance(proxy, Mapping) else proxy
    if len(values) != len(configs):
        raise ValueError(f"{name} has {len(values)} values for {len(configs)} configurations. Give one each.")
    return [
        one if isinstance(one, Result) else Result(config, (float(one),))
        for config, one in zip(configs, values, strict=True)
    ]


def _values(results: Sequence[Result]) -> Values:
    """(n,) values; minus infinity for failures."""
    return np.array([-np.inf if one.failed else one.value for one in results])


def _mean_seconds(seconds: Sequence[float]) -> float | None:
    """Mean over configurations, or None if nothing was measured."""
    return statistics.fmean(seconds) if any(seconds) else None
