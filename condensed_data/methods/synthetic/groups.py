"""The layout of synthetic samples: class by class and group by group."""

from __future__ import annotations

import torch
from torch import Tensor

from condensed_data.data.real import RealData


def group_layout(real: RealData, per_class: int) -> tuple[list[int], Tensor, Tensor]:
    """Sizes of the groups for `per_class` samples per class, and label and group of every sample.

    Args:
        real: the real samples, whose groups are kept.
        per_class: N / K.

    Returns:
        Samples per group, in group order; labels (N,) int64; groups (N,) int64.
    """
    sizes = torch.tensor(real.group_sizes(per_class))
    groups = torch.arange(len(sizes)).repeat_interleave(sizes)
    return sizes.tolist(), real.group_class[groups], groups
