"""When a run has converged, told from its loss alone: test data never decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.spec import Spec
from condensed_data.core.validation import check_count
from condensed_data.methods.base import Stateful


@dataclass(frozen=True)
class EarlyStopping(Spec):
    """Stop when the mean loss of a window of iterations is hardly below that of the window before.

    The loss of single iterations says little where each has another network, so means are compared. IID converges long
    before the iterations of its base are over (Deng et al., CVPR 2024); this criterion for it is ours.

    Args:
        window: iterations of a mean.
        tolerance: relative decrease between two windows below which the run ends.

    Raises:
        ValueError: for a window below 1, or a tolerance outside [0, 1).
    """

    window: int = 500
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        check_count("EarlyStopping", "window", self.window)
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"EarlyStopping(tolerance={self.tolerance!r}) must be in [0, 1).")

    def start(self) -> EarlyStoppingState:
        """A new observer."""
        return EarlyStoppingState(self)


class EarlyStoppingState(Stateful):
    """What was seen of the losses; `reached` tells whether the run is over."""

    def __init__(self, spec: EarlyStopping) -> None:
        self.spec, self.reached, self.count = spec, False, 0
        self.sum: Tensor | float = 0.0
        self.before: float | None = None

    def add(self, loss: Tensor) -> None:
        """Take in the loss of one iteration; it is read, which waits for an accelerator, once a window."""
        self.sum, self.count = self.sum + loss.double(), self.count + 1
        if self.count == self.spec.window:
            mean = float(self.sum) / self.count
            if self.before is not None:
                self.reached = mean >= self.before - self.spec.tolerance * abs(self.before)
            self.before, self.sum, self.count = mean, 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "sum": torch.as_tensor(self.sum).cpu(),
            "count": self.count,
            "before": self.before,
            "reached": self.reached,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sum, self.count = state["sum"].double(), state["count"]
        self.before, self.reached = state["before"], state["reached"]
