"""How far a proxy's ranking of architectures can be believed, beside every other proxy's.

    report = rank_report(
        configs,
        proxies={"condensed": objective, "random": other, "early-stop": early, "params": "params"},
        reference=objective.on(train_set, seeds=2),
        prepared={"condensed": seconds_of_condensing},
    )
    print(report); report.to_csv("ranks.csv"); report.plot("ranks.png")

The correlation over the few best is mostly noise: of 720 architectures and a proxy of global correlation 0.8, that of
the five best has mean 0.25 and deviation 0.5 (simulated). So it comes with its interval, and the report leads with
what matters: the correlation over all, and the regret.

Letters: n configurations.
"""

from __future__ import annotations

import statistics as plain
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from condensed_data_nas import space as spaces
from condensed_data_nas.objective import ProxyObjective
from condensed_data_nas.rank_statistics import (
    FEWEST,
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
from condensed_data_nas.space import Config
from condensed_data_nas.trial_result import Result
from condensed_data_nas.zero_cost import ZeroCost

if TYPE_CHECKING:
    from PIL.Image import Image

Proxy = (
    ProxyObjective | ZeroCost | str | Callable[[dict[str, Any]], float] | Mapping[str, float] | Sequence[Any]
)
MANY_ENOUGH = 30  # below, a top-k correlation is mostly noise


@dataclass(frozen=True)
class ProxyRow:
    """One proxy against the reference.

    Attributes:
        name: of the proxy.
        values: (n,) its values, in the order of the configurations; minus infinity where it failed.
        spearman, kendall: over all configurations.
        tops: k -> Spearman among the k best of the reference.
        recalls: k -> share of the reference's k best among the proxy's.
        regret: accuracy, in [0, 1], that the proxy's pick costs on the reference.
        seconds: of one configuration; None where it was not measured.
        prepared: seconds before the first configuration, such as those of condensing.
        speed_up: of a search over `architectures`, preparation included; None where seconds are missing.
        failed: configurations that it could not measure.
    """

    name: str
    values: tuple[float, ...]
    spearman: Estimate
    kendall: Estimate
    tops: Mapping[int, Estimate]
    recalls: Mapping[int, Estimate]
    regret: Estimate
    seconds: float | None
    prepared: float
    speed_up: float | None
    failed: int


@dataclass(frozen=True)
class RankReport:
    """What `rank_report` found; `str` is its table.

    Attributes:
        configs: the n configurations that the reference could measure.
        reference: (n,) accuracy in [0, 1].
        rows: the proxies; the first one is the ceiling where the reference has several networks.
        architectures: that the speed-up is told for.
        dropped: configurations that the reference could not measure.
        reference_seconds: of one network on the reference.
        runs: networks behind each reference value.
    """

    configs: tuple[dict[str, Any], ...]
    reference: tuple[float, ...]
    rows: tuple[ProxyRow, ...]
    architectures: int
    dropped: int
    reference_seconds: float | None
    runs: int

    def __getitem__(self, name: str) -> ProxyRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{name!r} is no proxy of this report: {', '.join(row.name for row in self.rows)}")

    def __str__(self) -> str:
        from condensed_data_nas.tables import table

        return table(self)

    def to_csv(self, path: str | Path) -> Path:
        """Write one line a configuration: its names, the reference and every proxy's value."""
        from condensed_data_nas.tables import to_csv

        return to_csv(self, Path(path))

    def plot(self, path: str | Path | None = None) -> Image:
        """Draw every proxy against the reference; written to `path` where one is given. Needs matplotlib."""
        from condensed_data_nas.tables import plot

        return plot(self, None if path is None else Path(path))


CEILING = "other seed"


def rank_report(
    configs: Iterable[Config],
    proxies: Mapping[str, Proxy],
    reference: Proxy,
    *,
    prepared: Mapping[str, float] | None = None,
    tops: Sequence[int] = (5, 10, 30),
    architectures: int | None = None,
    draws: int = 1000,
    seed: int = 0,
    executor: Executor | None = None,
    journal: str | Path | None = None,
    progress: bool = False,
) -> RankReport:
    """Rank configurations by proxies and by a reference, and compare.

    Args:
        configs: at least three, all different.
        proxies: by name: a `ProxyObjective`; the name of a zero-cost proxy ("params", "flops", "synflow", "naswot");
            a function of a configuration; or values, in the order of the configurations. Larger is better.
        reference: likewise; a `ProxyObjective` with seeds >= 2 also gives the ceiling, "other seed": how well the
            reference, with one network each, tells itself.
        prepared: seconds that a proxy took before the first configuration, such as those of condensing.
        tops: numbers of best configurations that are looked at; those above n are left out.
        architectures: of the search that the speed-up is told for; by default n.
        draws: bootstrap draws for the intervals.
        seed: of these.
        executor, journal, progress: see `ProxyObjective.evaluate_many`.

    Raises:
        ValueError: for fewer than three configurations, equal ones, values of another number, an unknown name.
    """
    listed = [dict(config) for config in configs]
    _check(listed, proxies, prepared or {})
    how = {"executor": executor, "journal": journal, "progress": progress}
    basis = next((one for one in (*proxies.values(), reference) if isinstance(one, ProxyObjective)), None)
    truth = _results(listed, "reference", reference, basis, how)
    keep = [index for index, result in enumerate(truth) if not result.failed]
    if len(keep) < FEWEST:
        raise ValueError(
            f"The reference measured {len(keep)} configurations of {len(truth)}: {truth[0].error}"
        )
    kept = [truth[index] for index in keep]
    sizes = tuple(size for size in tops if size <= len(keep))
    cost = _seconds([result.seconds / len(result.values) for result in kept])
    judge = _Judge(sizes, draws, seed, architectures or len(keep), cost)
    target, rows = _values(kept), []
    runs = min(len(result.values) for result in kept)
    if runs > 1:
        first, other = (np.array([result.values[run] for result in kept]) for run in (0, 1))
        rows.append(judge.row(CEILING, other, first, cost, 0.0))
    for name, proxy in proxies.items():
        measured = _results(listed, name, proxy, basis, how)
        found = [measured[index] for index in keep]
        spent = _seconds([one.seconds for one in found])
        rows.append(judge.row(name, _values(found), target, spent, (prepared or {}).get(name, 0.0)))
    chosen = tuple(listed[index] for index in keep)
    dropped = len(listed) - len(keep)
    return RankReport(chosen, tuple(target.tolist()), tuple(rows), judge.architectures, dropped, cost, runs)


@dataclass(frozen=True)
class _Judge:
    """What all proxies are judged by, see `rank_report`; `cost` is the seconds of one network on the reference."""

    sizes: tuple[int, ...]
    draws: int
    seed: int
    architectures: int
    cost: float | None

    def row(
        self, name: str, values: Values, target: Values, spent: float | None, prepared: float
    ) -> ProxyRow:
        def judged(statistic: Statistic) -> Estimate:
            return estimate(statistic, values, target, self.draws, self.seed)

        faster = None
        if spent is not None and self.cost is not None:
            faster = self.cost * self.architectures / max(prepared + spent * self.architectures, 1e-9)
        return ProxyRow(
            name,
            tuple(values.tolist()),
            judged(spearman),
            judged(kendall),
            {size: judged(top_spearman(size)) for size in self.sizes},
            {size: judged(recall(size)) for size in self.sizes},
            judged(regret),
            spent,
            prepared,
            faster,
            int(np.isinf(values).sum()),
        )


def _check(configs: Sequence[Config], proxies: Mapping[str, Proxy], prepared: Mapping[str, float]) -> None:
    keys = [spaces.key_of(config) for config in configs]
    if len(keys) < FEWEST or len(set(keys)) < len(keys):
        raise ValueError(
            f"configs holds {len(keys)} configurations, {len(set(keys))} of them different: give at least {FEWEST}, "
            "each once."
        )
    unknown = sorted(prepared.keys() - proxies.keys())
    if unknown or CEILING in proxies:
        raise ValueError(
            f"prepared names {unknown}, which are no proxies: {', '.join(proxies)}."
            if unknown
            else f"A proxy cannot be called {CEILING!r}: the ceiling is."
        )


def _results(
    configs: Sequence[dict[str, Any]],
    name: str,
    proxy: Proxy,
    basis: ProxyObjective | None,
    how: Mapping[str, Any],
) -> list[Result]:
    """What a proxy says of every configuration."""
    if isinstance(proxy, str):
        if basis is None:
            raise ValueError(f"{name}={proxy!r} needs networks: give a ProxyObjective among the proxies.")
        proxy = ZeroCost(proxy, basis)
    if isinstance(proxy, ProxyObjective):
        return proxy.evaluate_many(configs, **how)
    if isinstance(proxy, ZeroCost):
        return [proxy.measure(config) for config in configs]
    if callable(proxy):
        return [Result(config, (float(proxy(config)),)) for config in configs]
    if isinstance(proxy, Mapping):
        values: Sequence[Any] = [proxy[spaces.key_of(config)] for config in configs]
    else:
        values = proxy
    if len(values) != len(configs):
        raise ValueError(f"{name} has {len(values)} values for {len(configs)} configurations.")
    return [
        one if isinstance(one, Result) else Result(config, (float(one),))
        for config, one in zip(configs, values, strict=True)
    ]


def _values(results: Sequence[Result]) -> Values:
    """(n,) values; minus infinity for what failed."""
    return np.array([-np.inf if one.failed or one.error else one.value for one in results])


def _seconds(seconds: Sequence[float]) -> float | None:
    """Mean of one configuration, or None where nothing was measured."""
    return plain.fmean(seconds) if any(seconds) else None
