"""Successive filtering: a cheap proxy for many configurations, better ones for fewer, full training for the last.

    result = cascade(
        configs,
        [
            Stage("synflow", "synflow", keep=200),
            Stage("condensed", objective, keep=10),
            Stage("full dataset", objective.trained_on(train_set), keep=1),
        ],
    )

Each stage measures the configurations that the stage before it kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensed_data.core.annotations import check_fields, checked
from condensed_data.core.torch_settings import own_settings
from condensed_data.core.validation import check_count
from condensed_data_nas.objective import ProxyObjective
from condensed_data_nas.space import Config, key_of
from condensed_data_nas.trial_result import Result
from condensed_data_nas.zero_cost import ZeroCost, zero_cost_proxy


@dataclass(frozen=True)
class Stage:
    """One stage of a cascade.

    Args:
        name: shown in the report.
        proxy: a `ProxyObjective`, a `ZeroCost`, or the name of a zero-cost proxy.
        keep: number of configurations that reach the next stage, at least 1; fewer if more than the others fail.
    """

    name: str
    proxy: ProxyObjective | ZeroCost | str
    keep: int

    def __post_init__(self) -> None:
        check_fields(self)
        check_count(f"Stage({self.name!r})", "keep", self.keep)


@dataclass(frozen=True)
class Cascade:
    """The result of `cascade`, with the results of every stage, best first, failures last; `str` gives a summary."""

    stages: tuple[Stage, ...]
    results: tuple[tuple[Result, ...], ...]

    @property
    def kept(self) -> list[Result]:
        """What the last stage keeps, best first."""
        return _best(self.results[-1], self.stages[-1].keep)

    @property
    def seconds(self) -> float:
        """Seconds of all stages."""
        return sum(result.seconds for results in self.results for result in results)

    def __str__(self) -> str:
        lines = []
        for stage, results in zip(self.stages, self.results, strict=True):
            seconds, kept = sum(result.seconds for result in results), len(_best(results, stage.keep))
            lines.append(f"{stage.name}: {len(results)} -> {kept} configurations, {seconds:.3g} s")
        lines += [f"  {result.value:.4g}  {key_of(result.config)}" for result in self.kept]
        return "\n".join(lines)


@own_settings()
@checked
def cascade(
    configs: Iterable[Config],
    stages: Sequence[Stage],
    *,
    executor: Executor | None = None,
    journal: str | Path | None = None,
    progress: bool = False,
) -> Cascade:
    """Pass configurations through stages, each of which keeps its best.

    Args:
        configs: for the first stage.
        stages: at least one, cheap ones first.
        executor, journal, progress: see `ProxyObjective.evaluate_many`.

    Raises:
        ValueError: without stages or configurations, for the name of a zero-cost proxy without a `ProxyObjective` in
            another stage, or if every configuration of a stage fails.
    """
    remaining: list[dict[str, Any]] = [dict(config) for config in configs]
    if not stages or not remaining:
        raise ValueError(
            f"cascade needs at least one stage and one configuration, got {len(stages)} and {len(remaining)}."
        )
    proxies = [_proxy(stage, stages) for stage in stages]  # all checked before the first is measured
    results = []
    for stage, proxy in zip(stages, proxies, strict=True):
        if isinstance(proxy, ProxyObjective):
            found = proxy.evaluate_many(remaining, executor, journal=journal, progress=progress)
        else:
            found = [proxy.measure(config) for config in remaining]
        results.append((*_best(found, len(found)), *(one for one in found if one.failed)))
        remaining = [dict(result.config) for result in _best(found, stage.keep)]
        if not remaining:
            raise ValueError(f"Every configuration failed in stage {stage.name!r}. The first error: {found[0].error}")
    return Cascade(tuple(stages), tuple(results))


def _proxy(stage: Stage, stages: Sequence[Stage]) -> ProxyObjective | ZeroCost:
    if not isinstance(stage.proxy, str):
        return stage.proxy
    label, proxies = f"Stage({stage.name!r}, {stage.proxy!r})", [one.proxy for one in stages]
    return zero_cost_proxy(label, stage.proxy, proxies, "in another stage")


def _best(results: Sequence[Result], keep: int) -> list[Result]:
    successful = [result for result in results if not result.failed]
    return sorted(successful, key=lambda result: -result.value)[:keep]
