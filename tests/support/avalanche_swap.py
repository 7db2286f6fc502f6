"""A pytest plugin that replaces ClassBalancedBuffer by CondensedBuffer in Avalanche's own tests.

It must be loaded before the modules of the tests, which import the class by name.
"""

from __future__ import annotations

import importlib
from typing import Any

from condensed_data import recipes
from condensed_data_avalanche import CondensedBuffer

MODULES = (
    "avalanche.training.storage_policy",
    "avalanche.training",
    "avalanche.training.plugins.gdumb",
    "avalanche.training.plugins.mir",
    "avalanche.training.plugins.cope",
    "avalanche.training.plugins.update_ncm",
    "avalanche.training.plugins.update_fecam",
    "avalanche.training.supervised.er_ace",
    "avalanche.training.supervised.er_aml",
    "avalanche.training.supervised.feature_replay",
    "avalanche.training.supervised.supervised_contrastive_replay",
)
COUNT = {"made": 0}


class Swapped(CondensedBuffer):
    """With a fast recipe, because only the interface is tested."""

    def __init__(self, max_size: int, adaptive_size: bool = True, total_num_classes: int | None = None) -> None:
        recipe: Any = recipes.dm(iterations=1, batch=4, network="mlp")
        super().__init__(max_size, adaptive_size, total_num_classes, recipe=recipe)
        COUNT["made"] += 1


for _name in MODULES:
    _module = importlib.import_module(_name)
    if hasattr(_module, "ClassBalancedBuffer"):
        _module.ClassBalancedBuffer = Swapped  # type: ignore[attr-defined]
_replay: Any = importlib.import_module("avalanche.training.plugins.replay")
_replay.ExperienceBalancedBuffer = Swapped


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many buffers were swapped."""
    terminalreporter.write_line(f"buffers swapped: {COUNT['made']}")
