"""Valid and invalid sources for tests of the command line, named `cli_sources:FUNCTION` there.

Letters: n samples, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from sources import InWorkers, ListDataset
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset


def tiny(split: str) -> TensorDataset:
    """3 classes of noisy patterns, 12 training and 8 test samples each: (n, 1, 8, 8) in [0, 1]."""
    per_class = {"train": 12, "test": 8}[split]
    patterns = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(3).repeat_interleave(per_class)
    noise = torch.randn(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(per_class))
    return TensorDataset((patterns[labels] + 0.1 * noise).clamp(0, 1), labels)


def in_workers(split: str) -> InWorkers:
    """`tiny`, which can only be read in workers."""
    return InWorkers(tiny(split))


def only_train() -> TensorDataset:
    """`tiny` without a test split."""
    return tiny("train")


def other_test_shape(split: str) -> TensorDataset:
    """The samples of the test split have another shape."""
    images, labels = tiny(split).tensors
    return TensorDataset(images if split == "train" else images[..., :6], labels)


def other_values(split: str) -> TensorDataset:
    """`tiny` with values in 0 to 255."""
    images, labels = tiny(split).tensors
    return TensorDataset(255 * images, labels)


def other_labels(split: str) -> TensorDataset:
    """`tiny` with labels that start at 1."""
    images, labels = tiny(split).tensors
    return TensorDataset(images, labels + 1)


def four_pixels(split: str) -> TensorDataset:
    """`tiny`, too small for a ConvNet of three blocks."""
    images, labels = tiny(split).tensors
    return TensorDataset(images[..., :4, :4], labels)


def _labeled(labels: list[Any]) -> ListDataset:
    return ListDataset([(image, label) for (image, _), label in zip(tiny("train"), labels, strict=False)])


def float_labels() -> ListDataset:
    """Labels are floats."""
    return _labeled([0.5, 1.0])


def negative_labels() -> ListDataset:
    """One label is negative."""
    return _labeled([0, 1, -1])


def text_labels() -> ListDataset:
    """Labels are strings."""
    return _labeled(["ant", "bee"])


def vector_labels() -> ListDataset:
    """Labels are one-hot."""
    return _labeled([torch.tensor([1, 0]), torch.tensor([0, 1])])


def empty() -> ListDataset:
    """No samples."""
    return ListDataset([])


def no_pairs() -> ListDataset:
    """Samples without labels."""
    return ListDataset([torch.zeros(1, 8, 8)])


def many_shapes() -> ListDataset:
    """Images of different sizes."""
    return ListDataset([(torch.zeros(1, 8, 8), 0), (torch.zeros(1, 8, 9), 1)])


def with_nan() -> ListDataset:
    """One pixel is NaN."""
    bad: Tensor = torch.zeros(1, 8, 8)
    bad[0, 3, 3] = torch.nan
    return ListDataset([(torch.zeros(1, 8, 8), 0), (bad, 1)])


class Stream(IterableDataset[Any]):
    """A dataset without indices."""

    def __iter__(self) -> Iterator[Any]:
        return iter(tiny("train"))

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError


def stream() -> Stream:
    """An iterable dataset."""
    return Stream()


class Colored(TensorDataset):
    """`tiny` with a color for every sample."""

    def __init__(self, split: str) -> None:
        super().__init__(*tiny(split).tensors)
        self.color = ["red" if index % 6 else "blue" for index in range(len(self))]


def colored(split: str) -> Colored:
    """A source with an attribute for `--groups`."""
    return Colored(split)


def vectors() -> TensorDataset:
    """Two classes of 12 vectors."""
    return TensorDataset(torch.randn(24, 6, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 2)


def signals() -> TensorDataset:
    """Two classes of 12 signals of two channels."""
    drawn = torch.randn(24, 2, 16, generator=torch.Generator().manual_seed(0))
    return TensorDataset(drawn, torch.arange(24) % 2)
