"""Published settings of trajectory matching by data set and samples per class, and rules that read them.

MTT: Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932, and the authors' repository for CIFAR-10 and
CIFAR-100; steps and epochs for gray images and SVHN are those of FreD's runs of MTT (Shin et al., NeurIPS 2023,
https://arxiv.org/abs/2311.08819). The learning rates of gray images are ours (nobody published any in pixels), and
so is CIFAR-10's of 10 samples a class, which the authors call a misprint in their table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import names_digits
from condensed_data.data.whitening import MAX_VALUES


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Attributes:
        steps: N of the student.
        ahead: M, epochs of the expert that it should make up for.
        starts: epochs 0 to `starts` - 1 of an expert are where it may begin.
        lr: of the samples.
        step_lr: of the step size.
        step_size: where that begins.
        whitening: "zca" or "none".
    """

    steps: int
    ahead: int
    starts: int
    lr: float
    step_lr: float
    step_size: float
    whitening: str = "none"


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
_MANY_CLASSES = {
    1: Setting(20, 3, 20, 1000, 1e-5, 1e-2, "zca"),
    50: Setting(80, 2, 40, 1000, 1e-5, 1e-2, "zca"),
}
MANY = 100  # classes


def _table(facts: DatasetInfo) -> dict[int, Setting]:
    """The rows of the published data set that is most like this one."""
    color = len(facts.sample_shape) == 3 and facts.sample_shape[0] > 1
    digits = facts.named and names_digits(facts.classes)
    if color and digits:
        return _COLOR_DIGITS
    if color:
        return _MANY_CLASSES if len(facts.classes) >= MANY else _COLOR
    return _DIGITS if digits else _GRAY


def setting(facts: DatasetInfo) -> Setting:
    """The published row; between two rows geometric in the samples per class, beyond them the nearest."""
    table = _table(facts)
    low = max((ipc for ipc in table if ipc <= facts.ipc), default=min(table))
    high = min((ipc for ipc in table if ipc >= facts.ipc), default=max(table))
    if low == high:
        return table[low]
    share = math.log(facts.ipc / low) / math.log(high / low)
    first, second = table[low], table[high]

    def between(a: float, b: float) -> float:
        return float(f"{a ** (1 - share) * b**share:.3g}")  # three digits are enough to print and to store

    return Setting(
        round(between(first.steps, second.steps)),
        round(between(first.ahead, second.ahead)),
        round(between(first.starts, second.starts)),
        between(first.lr, second.lr),
        between(first.step_lr, second.step_lr),
        between(first.step_size, second.step_size),
        first.whitening if share < 0.5 else second.whitening,
    )


FIELDS = ("steps", "ahead", "starts", "lr", "step_lr", "step_size")


@dataclass(frozen=True)
class PublishedMTT(DataDefault):
    """One value of the published settings, see `Setting`.

    Args:
        value: one of `FIELDS`.

    Raises:
        ValueError: for another name.
    """

    value: str

    def __post_init__(self) -> None:
        if self.value not in FIELDS:
            raise ValueError(f"PublishedMTT(value={self.value!r}) is unknown; known: {', '.join(FIELDS)}.")

    def __call__(self, facts: DatasetInfo) -> float:
        found: float = getattr(setting(facts), self.value)
        return found


@dataclass(frozen=True)
class EpochsAhead(DataDefault):
    """M as published, and more where the source is so small that an expert takes fewer steps in them than the student.

    The published sources have 50,000 samples and more, where 2 epochs are 390 steps; with a way that is shorter than
    the student's own, the loss begins far above 1 and its gradient throws the samples apart.

    Args:
        steps: N of the student; None for the published one.
        batch: real samples of an expert's step.
        most: epochs of an expert, where they are given.
    """

    steps: int | None = None
    batch: int = 256
    most: int | None = None

    def __call__(self, facts: DatasetInfo) -> int:
        row = setting(facts)
        ahead = row.ahead
        if facts.samples is not None:
            in_an_epoch = math.ceil(facts.samples / self.batch)
            ahead = max(ahead, math.ceil((self.steps or row.steps) / in_an_epoch))
        return ahead if self.most is None else min(ahead, self.most)


@dataclass(frozen=True)
class UsedEpochs(DataDefault):
    """Epochs of an expert that are used: the last start, and those that it is ahead.

    Args:
        ahead: M.
    """

    ahead: int | DataDefault

    def __call__(self, facts: DatasetInfo) -> int:
        ahead = self.ahead(facts) if isinstance(self.ahead, DataDefault) else self.ahead
        return setting(facts).starts - 1 + int(ahead)


@dataclass(frozen=True)
class PublishedWhitening(DataDefault):
    """ZCA for color images where it is published for CIFAR, and where their size allows it."""

    def __call__(self, facts: DatasetInfo) -> str:
        small = math.prod(facts.sample_shape) <= MAX_VALUES
        return setting(facts).whitening if small else "none"
