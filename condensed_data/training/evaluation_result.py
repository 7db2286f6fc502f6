"""The result of an evaluation: accuracies, and the protocol by which they were measured.

Letters: K classes.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from condensed_data.core import spec as specs
from condensed_data.core.sizes import mean_percent
from condensed_data.training.protocol import OrderedTraining, Training


@dataclass(frozen=True)
class Evaluation:
    """Accuracies of networks of one architecture, trained on the same data by one protocol.

    Accuracies are fractions in [0, 1].

    Attributes:
        network: name of the architecture.
        training: the resolved protocol.
        accuracies: of each network, ordered by run.
        per_class: (K,) accuracy of each class, averaged over the networks; None for a class without test samples.
        eight_bit: accuracies of networks trained with the same seeds on the samples rounded to 8 bits; empty if they
            were not evaluated.
        seconds: duration of the evaluation; neither stored nor compared.
    """

    network: str
    training: Training | OrderedTraining
    accuracies: tuple[float, ...]
    per_class: tuple[float | None, ...]
    eight_bit: tuple[float, ...] = ()
    seconds: float | None = field(default=None, compare=False)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float:
        """Population standard deviation over the networks (divided by their number)."""
        return statistics.pstdev(self.accuracies)

    @property
    def runs(self) -> int:
        return len(self.accuracies)

    @property
    def protocol(self) -> str:
        """Name of the protocol, such as "dc" or "dsa"."""
        return self.training.name

    @property
    def eight_bit_mean(self) -> float | None:
        """Mean accuracy with the samples rounded to 8 bits, or None if that was not measured."""
        return statistics.fmean(self.eight_bit) if self.eight_bit else None

    @property
    def eight_bit_std(self) -> float | None:
        """Population standard deviation of `eight_bit`, or None if it was not measured."""
        return statistics.pstdev(self.eight_bit) if self.eight_bit else None

    def __str__(self) -> str:
        networks = f"{self.runs} network" + ("s" if self.runs > 1 else "")
        text = f"{self.network}: {mean_percent(self.accuracies)} ({networks}, {self.training.label})"
        return text + (f"; rounded to 8 bits {mean_percent(self.eight_bit)}" if self.eight_bit else "")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` ignores mean, std and protocol, which are for human readers."""
        return {
            "network": self.network,
            "protocol": self.protocol,
            "mean": self.mean,
            "std": self.std,
            "accuracies": list(self.accuracies),
            "per_class": list(self.per_class),
            "eight_bit": list(self.eight_bit),
            "training": specs.to_json(self.training),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Evaluation:
        """Read what `to_json` wrote; anything else raises ValueError."""
        try:
            training = specs.from_json(value["training"])
            network = value["network"]
            accuracies = tuple(map(_fraction, value["accuracies"]))
            eight_bit = tuple(map(_fraction, value["eight_bit"]))
            per_class = tuple(None if item is None else _fraction(item) for item in value["per_class"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"Cannot read an evaluation: {type(error).__name__} {error}.") from error
        if not isinstance(training, Training | OrderedTraining) or not isinstance(network, str) or not accuracies:
            raise ValueError(f"Cannot read the evaluation of {network!r}: its protocol or its accuracies are missing.")
        return Evaluation(network, training, accuracies, per_class, eight_bit)


def _fraction(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"An accuracy must be a number in [0, 1]; got {value!r}.")
    return float(value)
