"""Sources of `test_ranks_scripts.py` for the command line."""

from __future__ import annotations

import os

import torch
from torch.utils.data import TensorDataset


def broken_on_rank_1() -> TensorDataset:
    if os.environ["RANK"] == "1":
        raise OSError("the disk of this machine is not mounted")
    return TensorDataset(torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3)
