"""How well one ranking tells another, and how sure that is.

Letters: n configurations, R bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from condensed_data.core.rng import RandomStreams

Values = NDArray[np.float64]
Statistic = Callable[[Values, Values], float]
FEWEST = 3  # below, a correlation says nothing


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: on all configurations.
        low, high: the 2.5 and 97.5 percentiles over bootstrap draws of configurations (Efron, 1979).
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ranks(values: Values) -> Values:
    """Ranks from the lowest on, (n,); ties share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Values = last - (counts - 1) / 2
    return mean[place]


def spearman(first: Values, second: Values) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; 0 where one side has one value only."""
    left, right = (part - part.mean() for part in (ranks(first), ranks(second)))
    scale = float(np.sqrt((left @ left) * (right @ right)))
    return float(left @ right / scale) if scale else 0.0


def kendall(first: Values, second: Values) -> float:
    """Kendall's tau-b; 0 where one side has one value only."""
    left, right = (np.sign(part[:, None] - part).ravel() for part in (ranks(first), ranks(second)))
    scale = float(np.sqrt((left @ left) * (right @ right)))
    return float(left @ right / scale) if scale else 0.0


def top(size: int, reference: Values) -> NDArray[np.int64]:
    """Indices of the `size` best of the reference, the earlier of equals first."""
    return np.argsort(-reference, kind="stable")[:size]


def top_spearman(size: int) -> Statistic:
    """Spearman among the `size` best of the reference."""

    def among(proxy: Values, reference: Values) -> float:
        best = top(size, reference)
        return spearman(proxy[best], reference[best])

    return among


def recall(size: int) -> Statistic:
    """Share of the reference's `size` best that are among the proxy's."""

    def found(proxy: Values, reference: Values) -> float:
        return len(set(top(size, reference)) & set(top(size, proxy))) / size

    return found


def regret(proxy: Values, reference: Values) -> float:
    """What the proxy's pick costs: the best of the reference minus the reference's value of the proxy's best."""
    return float(reference.max() - reference[top(1, proxy)[0]])


def estimate(statistic: Statistic, proxy: Values, reference: Values, draws: int, seed: int) -> Estimate:
    """A statistic with its bootstrap interval; configurations are drawn with replacement.

    Args:
        proxy, reference: (n,).
        draws: R.
        seed: of the draws, which are the same for every proxy.
    """
    generator, count = RandomStreams(seed).numpy("bootstrap"), len(reference)
    found = []
    for _ in range(draws):
        chosen = generator.integers(count, size=count)
        found.append(statistic(proxy[chosen], reference[chosen]))
    low, high = np.percentile(found, (2.5, 97.5)) if found else (np.nan, np.nan)
    return Estimate(statistic(proxy, reference), float(low), float(high))
