"""The datasets that published settings are for: how they are recognized, and the constants that these settings assume.

A learning rate is published for samples that the authors standardized with their own constants. They are used for
these datasets, and for no other; every other source is standardized by its own mean and standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Subset

from condensed_data.core.names import unknown_name
from condensed_data.core.spec import DatasetInfo
from condensed_data.data.value_space import ValueSpace

_DIGITS = tuple(map(str, range(10)))
TOLERANCE = 0.03  # between the mean of a source (perhaps a subset) and the published one


@dataclass(frozen=True)
class KnownDataset:
    """A dataset with published settings.

    Attributes:
        cls: name of its class in torchvision; empty if torchvision has none.
        shape: of a sample, (C, H, W).
        classes: names, numbers for those that are no digits: only whether they are digits matters.
        samples: of the training set.
        mean, std: constants of the authors of DC, DSA and DM, per channel, for values in [0, 1].
    """

    cls: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    samples: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# CIFAR-10's deviations are smaller than those of all its pixels (.247, .243, .262): an equal step moves pixels less.
KNOWN = {
    "mnist": KnownDataset("MNIST", (1, 28, 28), _DIGITS, 60_000, (0.1307,), (0.3081,)),
    "fashion-mnist": KnownDataset("FashionMNIST", (1, 28, 28), _names(10), 60_000, (0.2861,), (0.3530,)),
    "svhn": KnownDataset("SVHN", (3, 32, 32), _DIGITS, 73_257, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "cifar10": KnownDataset(
        "CIFAR10", (3, 32, 32), _names(10), 50_000, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    ),
    "cifar100": KnownDataset(
        "CIFAR100", (3, 32, 32), _names(100), 50_000, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)
    ),
    "tiny-imagenet": KnownDataset("", (3, 64, 64), _names(200), 100_000, *_IMAGENET),
    "imagenet-subset": KnownDataset("", (3, 128, 128), _names(10), 13_000, *_IMAGENET),
}


def known_name(dataset: Any, shape: tuple[int, ...]) -> str | None:
    """The name of a torchvision dataset of samples of this shape, also below subsets; None for any other source."""
    if isinstance(dataset, Subset):
        return known_name(dataset.dataset, shape)
    kind = type(dataset)
    if not kind.__module__.startswith("torchvision.datasets"):
        return None
    return next((name for name, known in KNOWN.items() if (known.cls, known.shape) == (kind.__name__, shape)), None)


def published_space(name: str | None, measured: ValueSpace) -> ValueSpace:
    """The space of a known dataset, if the measured means show that its values are in [0, 1]; else the measured one."""
    if name is None:
        return measured
    mean, std = torch.tensor(KNOWN[name].mean), torch.tensor(KNOWN[name].std)
    return ValueSpace(mean, std) if bool(((measured.mean - mean).abs() < TOLERANCE).all()) else measured


def known_info(name: str, ipc: int) -> DatasetInfo:
    """The properties of a known dataset, without reading it; ValueError for any other name."""
    if name not in KNOWN:
        raise ValueError(unknown_name("dataset", name, KNOWN))
    known = KNOWN[name]
    return DatasetInfo(known.shape, known.classes, ipc, samples=known.samples, dataset=name)
