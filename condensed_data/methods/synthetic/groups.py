"""The layout of synthetic samples: class by class and group by group."""

from __future__ import annotations

import torch
from torch import Tensor

from condensed_data.data.real import RealData


def group_layout(real: RealData, per_class: int) -> tuple[list[int], Tensor, Tensor]:
    """Layout of `per_class` synthetic samples per class, which keeps the groups of the real samples.

    Returns:
        Samples per group, in group order; labels (N,) int64; groups (N,) int64.
    """
    sizes = torch.tensor(real.group_sizes(per_class))
    groups = torch.arange(len(sizes)).repeat_interleave(sizes)
    return sizes.tolist(), real.group_class[groups], groups
