"""What a run does when its loss stops falling: it ends, or takes smaller steps. No test data is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.spec import Spec
from condensed_data.core.validation import check_count, require
from condensed_data.methods.base import Stateful


@dataclass(frozen=True)
class EarlyStopping(Spec):
    """Stop when the mean loss over a window of iterations is hardly lower than over the previous window.

    Means are compared because the loss of single iterations is noisy if each uses another network. IID converges
    long before the iterations of its base are over (Deng et al., CVPR 2024); this criterion for it is ours.

    Args:
        window: number of iterations to average over.
        tolerance: the run ends when the relative decrease between two windows is below this, in [0, 1).
    """

    window: int = 500
    tolerance: float = 0.005

    def __post_init__(self) -> None:
        check_count("EarlyStopping", "window", self.window)
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"EarlyStopping(tolerance={self.tolerance!r}) must be in [0, 1).")

    def start(self) -> EarlyStoppingState:
        """New state for a run."""
        return EarlyStoppingState(self)


class EarlyStoppingState(Stateful):
    """Run state of `EarlyStopping`: running means of the loss; `reached` is True once the run should end."""

    def __init__(self, spec: EarlyStopping) -> None:
        self.spec, self.reached, self.count = spec, False, 0
        self.sum: Tensor | float = 0.0
        self.previous: float | None = None

    def add(self, loss: Tensor) -> None:
        """Add the loss of one iteration; its value is read, which synchronizes with an accelerator, once per window."""
        self.sum, self.count = self.sum + loss.double(), self.count + 1
        if self.count == self.spec.window:
            mean = float(self.sum) / self.count
            if self.previous is not None:
                self.reached = mean >= self.previous - self.spec.tolerance * abs(self.previous)
            self.previous, self.sum, self.count = mean, 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "sum": torch.as_tensor(self.sum).cpu(),
            "count": self.count,
            "previous": self.previous,
            "reached": self.reached,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sum, self.count = state["sum"].double(), state["count"]
        self.previous, self.reached = state["previous"], state["reached"]


@dataclass(frozen=True)
class Plateau(Spec):
    """Multiply all learning rates by `factor` when the loss has not reached a new minimum for a while.

    This is PyTorch's `ReduceLROnPlateau`, which NCFM uses (Wang S. et al., CVPR 2025). The lowest loss is never
    forgotten, so that a noisy loss has the learning rates fall again and again.

    Args:
        patience: iterations in a row that may pass without a new minimum; the next one changes the rates.
        factor: in (0, 1).
        threshold: a new minimum is below (1 - threshold) times the last one, in [0, 1).
    """

    patience: int = 500
    factor: float = 0.5
    threshold: float = 1e-4

    def __post_init__(self) -> None:
        check_count("Plateau", "patience", self.patience, 0)
        require(0 < self.factor < 1, "Plateau", "factor", self.factor, "in (0, 1)")
        require(0 <= self.threshold < 1, "Plateau", "threshold", self.threshold, "in [0, 1)")

    def start(self) -> PlateauState:
        """New state for a run."""
        return PlateauState(self)


class PlateauState(Stateful):
    """Run state of `Plateau`; the learning rates themselves are part of the optimizer's."""

    def __init__(self, spec: Plateau) -> None:
        self.spec, self.lowest, self.without = spec, math.inf, 0
        self.unread: list[Tensor] = []

    def add(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Add the loss of one iteration.

        Values are read, which synchronizes with an accelerator, when they may change the rates: after `patience` more
        losses than there were without a new minimum when they were last read.
        """
        self.unread.append(loss.detach())
        if self.without + len(self.unread) <= self.spec.patience:
            return
        for value in map(float, self.unread):
            better = value < self.lowest * (1 - self.spec.threshold)
            self.lowest, self.without = (value, 0) if better else (self.lowest, self.without + 1)
        self.unread = []
        if self.without > self.spec.patience:
            self.without = 0
            for group in optimizer.param_groups:
                group["initial_lr"] *= self.spec.factor  # `Optimizer.tune` sets "lr" by it

    def state_dict(self) -> dict[str, Any]:
        unread = torch.stack(self.unread).cpu() if self.unread else torch.empty(0)
        return {"lowest": self.lowest, "without": self.without, "unread": unread}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.lowest, self.without, self.unread = state["lowest"], state["without"], list(state["unread"].unbind())
