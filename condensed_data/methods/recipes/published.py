"""Settings that authors publish by dataset and samples per class, and the rules for everything between them.

A method's `SettingsTable` is written as the paper's table is read: one row per (dataset, ipc). `Published` is the
default of a field that takes its value from there:

    TABLE = SettingsTable("mtt", ("steps", "lr"), {
        ("cifar10", 1): (50, 100.0),
        ("cifar10", 10): (30, 1000.0),
    })
    lr=Published("mtt", "lr")

A dataset that the table does not have takes the rows of the most similar one (`most_similar`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.core.validation import check_choice
from condensed_data.data.augment import names_digits

RULES = ("geometric", "linear", "nearest", "proportional")
MANY_CLASSES = 100  # as CIFAR-100
PHOTOGRAPH = 128  # pixels of a side, as the ImageNet subsets
_TABLES: dict[str, SettingsTable] = {}


@dataclass(frozen=True)
class SettingsTable:
    """What a method's authors publish; it registers itself under `name`.

    Args:
        name: of the method.
        columns: names of the settings.
        rows: by (dataset, ipc), one value per column. Datasets are named as on the command line.
        rules: how a column is filled between two published ipc: "geometric", "linear", or "nearest" on a logarithmic
            scale, which is the default. Integers are rounded. Outside the published ipc, the nearest row holds.
            "proportional" to the ipc continues outside of them, too.
        notes: by dataset, where its rows are from if not from the method's authors.

    Raises:
        ValueError: for a row of another length, or an unknown rule.
    """

    name: str
    columns: tuple[str, ...]
    rows: Mapping[tuple[str, int], tuple[Any, ...]]
    rules: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for column, rule in self.rules.items():
            check_choice("SettingsTable", f"rules[{column!r}]", rule, RULES)
        for place, row in self.rows.items():
            if len(row) != len(self.columns):
                raise ValueError(f"SettingsTable({self.name!r}): row {place} must have {len(self.columns)} values.")
        _TABLES[self.name] = self

    def value(self, info: DatasetInfo, column: str) -> Any:
        """The value of a column for this data: published, or filled in by the column's rule."""
        at = self.columns.index(column)
        below, above = self._around(info)
        dataset, rule = self.dataset(info), self.rules.get(column, "nearest")
        first, second = self.rows[dataset, below][at], self.rows[dataset, above][at]
        if rule == "proportional":
            return float(f"{first * info.ipc / below:.3g}")
        if first == second:
            return first
        if rule == "linear":
            value = first + (second - first) * (info.ipc - below) / (above - below)
        else:
            fraction = math.log(info.ipc / below) / math.log(above / below)
            if rule == "nearest":
                return first if fraction < 0.5 else second
            value = first ** (1 - fraction) * second**fraction
        return round(value) if isinstance(first, int) and isinstance(second, int) else float(f"{value:.3g}")

    def dataset(self, info: DatasetInfo) -> str:
        """The dataset whose rows hold for this data."""
        return most_similar(info, {dataset for dataset, _ in self.rows})

    def origin(self, info: DatasetInfo) -> str:
        """Where the values for this data come from, such as "published for cifar10 at ipc 10"."""
        dataset = self.dataset(info)
        below, above = self._around(info)
        if below == above == info.ipc:
            where = f"published for {dataset} at ipc {below}"
        elif below == above:
            where = f"of {dataset} at ipc {below}, the nearest published"
        else:
            where = f"between {dataset} at ipc {below} and {above}"
        if dataset in self.notes:
            where += f", {self.notes[dataset]}"
        return where if info.dataset == dataset else f"{where}; {dataset} is the most similar published dataset"

    def _around(self, info: DatasetInfo) -> tuple[int, int]:
        """The published ipc below and above this one; the nearest one twice outside of them."""
        ipcs = sorted(ipc for name, ipc in self.rows if name == self.dataset(info))
        below = max((known for known in ipcs if known <= info.ipc), default=ipcs[0])
        above = min((known for known in ipcs if known >= info.ipc), default=ipcs[-1])
        return below, above


@dataclass(frozen=True)
class Published(DataDefault):
    """A setting from a `SettingsTable`.

    Args:
        method: name of the table.
        setting: one of its columns.
    """

    method: str
    setting: str

    def __post_init__(self) -> None:
        check_choice("Published", "method", self.method, _TABLES)
        check_choice("Published", "setting", self.setting, _TABLES[self.method].columns)

    def __call__(self, info: DatasetInfo) -> Any:
        return _TABLES[self.method].value(info, self.setting)

    def origin(self, info: DatasetInfo) -> str:
        """See `SettingsTable.origin`."""
        return _TABLES[self.method].origin(info)


def most_similar(info: DatasetInfo, datasets: Collection[str]) -> str:
    """The dataset among `datasets` that this data is, or is most similar to by channels, size, classes and digits."""
    if info.dataset in datasets:
        return str(info.dataset)
    images = len(info.sample_shape) == 3
    color, side = images and info.sample_shape[0] > 1, max(info.sample_shape[1:], default=1)
    digits = info.named and names_digits(info.classes)
    if not color:
        order = ["mnist", "fashion-mnist"] if digits else ["fashion-mnist", "mnist"]
    elif digits:
        order = ["svhn", "cifar10"]
    elif side >= PHOTOGRAPH:
        order = ["imagenet-subset", "tiny-imagenet", "cifar10"]
    elif len(info.classes) >= MANY_CLASSES:
        order = ["tiny-imagenet", "cifar100", "cifar10"] if side >= 64 else ["cifar100", "cifar10"]
    else:
        order = ["cifar10"]
    known = (name for name in (*order, "cifar10", "fashion-mnist", "mnist") if name in datasets)
    return next(known, next(iter(datasets)))
