"""Published settings of trajectory matching by dataset and samples per class, and the defaults taken from them.

MTT: Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932, and the authors' repository for CIFAR-10 and
CIFAR-100; steps and epochs for grayscale images and SVHN are those of FreD's runs of MTT (Shin et al., NeurIPS 2023,
https://arxiv.org/abs/2311.08819). The learning rates of grayscale images are ours (none were published in pixels), and
so is CIFAR-10's for 10 samples per class, where the authors report a misprint in their table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from condensed_data.core.annotations import Count
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.core.validation import check_choice
from condensed_data.data.augment import names_digits
from condensed_data.data.whitening import MAX_VALUES


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    steps: int  # N, training steps of the student
    ahead: int  # M, epochs of the expert that the student should match
    starts: int  # the student starts at one of the epochs 0 to `starts` - 1 of an expert
    lr: float  # of the samples
    step_lr: float  # learning rate of the step size
    step_size: float  # its initial value
    whitening: str = "none"  # or "zca"


COUNTS = ("steps", "ahead", "starts")
FIELDS = (*COUNTS, "lr", "step_lr", "step_size")

_DIGITS = {1: Setting(50, 2, 5, 100, 1e-7, 1e-2), 10: Setting(30, 2, 15, 1000, 1e-5, 1e-2)}
_GRAY = {1: Setting(50, 2, 5, 100, 1e-7, 1e-2), 10: Setting(60, 2, 15, 1000, 1e-5, 1e-2)}
_COLOR_DIGITS = {
    1: Setting(50, 2, 5, 100, 1e-7, 1e-2),
    10: Setting(30, 2, 15, 1000, 1e-5, 1e-2),
    50: Setting(40, 2, 40, 1000, 1e-5, 1e-3),
}
_COLOR = {
    1: Setting(50, 2, 2, 100, 1e-7, 1e-2, "zca"),
    10: Setting(30, 2, 20, 1000, 1e-5, 1e-2, "zca"),
    50: Setting(30, 2, 40, 1000, 1e-5, 1e-3),
}
_MANY_CLASSES = {1: Setting(20, 3, 20, 1000, 1e-5, 1e-2, "zca"), 50: Setting(80, 2, 40, 1000, 1e-5, 1e-2, "zca")}
MANY = 100  # classes or more: the settings of CIFAR-100


def _table(info: DatasetInfo) -> dict[int, Setting]:
    """The rows of the published dataset that is most similar to this one."""
    color = len(info.sample_shape) == 3 and info.sample_shape[0] > 1
    digits = info.named and names_digits(info.classes)
    if color and digits:
        return _COLOR_DIGITS
    if color:
        return _MANY_CLASSES if len(info.classes) >= MANY else _COLOR
    return _DIGITS if digits else _GRAY


def interpolated(info: DatasetInfo) -> Setting:
    """The published row; geometric interpolation between two rows by samples per class, the nearest one outside."""
    table = _table(info)
    low = max((ipc for ipc in table if ipc <= info.ipc), default=min(table))
    high = min((ipc for ipc in table if ipc >= info.ipc), default=max(table))
    if low == high:
        return table[low]
    fraction = math.log(info.ipc / low) / math.log(high / low)
    first, second = table[low], table[high]
    values: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(first, name) ** (1 - fraction) * getattr(second, name) ** fraction
        rounded = float(f"{value:.3g}")  # three digits are enough to print and to store
        values[name] = round(rounded) if name in COUNTS else rounded
    return replace(first if fraction < 0.5 else second, **values)


@dataclass(frozen=True)
class PublishedMTT(DataDefault):
    """One value of the published settings: that of a field of `Setting`, other than `whitening`."""

    value: str

    def __post_init__(self) -> None:
        check_choice("PublishedMTT", "value", self.value, FIELDS)

    def __call__(self, info: DatasetInfo) -> float:
        value: float = getattr(interpolated(info), self.value)
        return value


@dataclass(frozen=True)
class EpochsAhead(DataDefault):
    """The published `ahead` (M), or more for sources so small that an expert would take fewer steps than the student.

    The published sources have 50,000 samples and more, where 2 epochs are 390 steps; if the expert moves less than the
    student, the loss starts far above 1 and its gradient makes the samples diverge.

    Args:
        steps: training steps N of the student; None for the published number.
        batch: real samples per step of an expert.
        most: upper bound, the epochs of an expert; None for no bound.
    """

    steps: Count | None = None
    batch: Count = 256
    most: Count | None = None

    def __call__(self, info: DatasetInfo) -> int:
        row = interpolated(info)
        ahead = row.ahead
        if info.samples is not None:
            steps_per_epoch = math.ceil(info.samples / self.batch)
            ahead = max(ahead, math.ceil((self.steps or row.steps) / steps_per_epoch))
        return ahead if self.most is None else min(ahead, self.most)


@dataclass(frozen=True)
class UsedEpochs(DataDefault):
    """Epochs of an expert that are used: up to the last start, plus the M epochs that it is `ahead`."""

    ahead: int | DataDefault

    def __call__(self, info: DatasetInfo) -> int:
        ahead = self.ahead(info) if isinstance(self.ahead, DataDefault) else self.ahead
        return interpolated(info).starts - 1 + int(ahead)


@dataclass(frozen=True)
class PublishedWhitening(DataDefault):
    """ZCA if it is published for CIFAR and the color images are small enough."""

    def __call__(self, info: DatasetInfo) -> str:
        small = math.prod(info.sample_shape) <= MAX_VALUES
        return interpolated(info).whitening if small else "none"
