"""How well one ranking predicts another, with bootstrap intervals.

Letters: n configurations, R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from condensed_data.core.rng import RandomStreams

Values = NDArray[np.float64]
Statistic = Callable[[Values, Values], float]
MIN_CONFIGS = 3  # with fewer, a correlation is meaningless


@dataclass(frozen=True)
class Estimate:
    """A statistic with its interval.

    Attributes:
        value: over all configurations.
        low, high: the 2.5 and 97.5 percentiles over bootstrap draws of configurations (Efron, 1979).
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spearman(first: Values, second: Values) -> float:
    """Spearman's rank correlation, tied values sharing their mean rank; 0 if one side is constant."""
    return _correlation(stats.spearmanr, first, second)


def kendall(first: Values, second: Values) -> float:
    """Kendall's tau-b; 0 if one side is constant."""
    return _correlation(stats.kendalltau, first, second)


def _correlation(function: Callable[[Values, Values], Any], first: Values, second: Values) -> float:
    constant = any((values == values[0]).all() for values in (first, second))
    return 0.0 if constant else float(function(first, second).statistic)


def top(size: int, reference: Values) -> NDArray[np.int64]:
    """Indices of the `size` largest values; of equal values the earlier first."""
    return np.argsort(-reference, kind="stable")[:size]


def top_spearman(size: int) -> Statistic:
    """Spearman's correlation among the `size` best configurations of the reference."""

    def statistic(proxy: Values, reference: Values) -> float:
        best = top(size, reference)
        return spearman(proxy[best], reference[best])

    return statistic


def recall(size: int) -> Statistic:
    """Fraction of the `size` best configurations of the reference that are among the `size` best of the proxy."""

    def statistic(proxy: Values, reference: Values) -> float:
        return len(set(top(size, reference)) & set(top(size, proxy))) / size

    return statistic


def regret(proxy: Values, reference: Values) -> float:
    """Best value of the reference minus the reference's value of the proxy's best configuration."""
    return float(reference.max() - reference[top(1, proxy)[0]])


def estimate(statistic: Statistic, proxy: Values, reference: Values, draws: int, seed: int) -> Estimate:
    """A statistic of proxy and reference, (n,) each, with its bootstrap interval.

    R times, n configurations are drawn with replacement, the same ones for every proxy.
    """
    generator, count = RandomStreams(seed).numpy("bootstrap"), len(reference)
    chosen = (generator.integers(count, size=count) for _ in range(draws))
    resampled = [statistic(proxy[rows], reference[rows]) for rows in chosen]
    low, high = np.percentile(resampled, (2.5, 97.5)) if resampled else (np.nan, np.nan)
    return Estimate(statistic(proxy, reference), float(low), float(high))
