"""A cheap look at many configurations, a closer one at fewer, the whole set for the last.

found = cascade(
configs,
[
Stage("synflow", "synflow", keep=200),
Stage("condensed", objective, keep=10),
Stage("whole set", objective.on(train_set), keep=1),
],
)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensed_data_nas import space as spaces
from condensed_data_nas.objective import ProxyObjective
from condensed_data_nas.space import Config
from condensed_data_nas.trial_result import Result
from condensed_data_nas.zero_cost import ZeroCost


@dataclass(frozen=True)
class Stage:
    """One look.

    Args:
        name: for the report.
        proxy: a `ProxyObjective`, a `ZeroCost`, or the name of a zero-cost proxy.
        keep: configurations that go on; fewer where more failed.

    Raises:
        ValueError: for nothing to keep.
    """

    name: str
    proxy: ProxyObjective | ZeroCost | str
    keep: int

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"Stage({self.name!r}, keep={self.keep}) must keep at least 1.")


@dataclass(frozen=True)
class Cascade:
    """What the stages found.

    Attributes:
        stages: the stages.
        results: of every stage, best first.
        kept: of the last stage, best first.
    """

    stages: tuple[Stage, ...]
    results: tuple[tuple[Result, ...], ...]

    @property
    def kept(self) -> list[Result]:
        """The last stage's best, best first."""
        return _best(self.results[-1], self.stages[-1].keep)

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(result.seconds for results in self.results for result in results)

    def __str__(self) -> str:
        lines = []
        for stage, results in zip(self.stages, self.results, strict=True):
            seconds, kept = sum(result.seconds for result in results), len(_best(results, stage.keep))
            lines.append(f"{stage.name}: {len(results)} -> {kept} configurations, {seconds:.3g} s")
        lines += [f"  {result.value:.4g}  {spaces.key_of(result.config)}" for result in self.kept]
        return "\n".join(lines)


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
        configs: to begin with.
        stages: cheap ones first, at least one.
        executor, journal, progress: see `ProxyObjective.evaluate_many`.

    Raises:
        ValueError: for no stages, a zero-cost proxy's name without a `ProxyObjective` among them, or where every
            configuration of a stage failed.
    """
    basis = next((one.proxy for one in stages if isinstance(one.proxy, ProxyObjective)), None)
    left: list[dict[str, Any]] = [dict(config) for config in configs]
    if not stages or not left:
        raise ValueError(f"cascade needs stages and configurations; got {len(stages)} and {len(left)}.")
    looks = [_look(stage, basis) for stage in stages]  # before the first does any work
    results = []
    for stage, look in zip(stages, looks, strict=True):
        if isinstance(look, ProxyObjective):
            found = look.evaluate_many(left, executor, journal=journal, progress=progress)
        else:
            found = [look.measure(config) for config in left]
        results.append(tuple(_best(found, len(found))) + tuple(one for one in found if _lost(one)))
        left = [dict(result.config) for result in _best(found, stage.keep)]
        if not left:
            raise ValueError(f"Every configuration failed in stage {stage.name!r}: {found[0].error}")
    return Cascade(tuple(stages), tuple(results))


def _look(stage: Stage, basis: ProxyObjective | None) -> ProxyObjective | ZeroCost:
    if not isinstance(stage.proxy, str):
        return stage.proxy
    if basis is None:
        raise ValueError(f"Stage({stage.name!r}) needs networks: give a ProxyObjective in another stage.")
    return ZeroCost(stage.proxy, basis)


def _best(results: Sequence[Result], keep: int) -> list[Result]:
    fine = [result for result in results if not _lost(result)]
    return sorted(fine, key=lambda result: -result.value)[:keep]


def _lost(result: Result) -> bool:
    return result.failed or bool(result.error)
