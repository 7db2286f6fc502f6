"""Tiny datasets, models and searches for the tests of `condensed_data_nas`; importable in worker processes."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.networks import ConvNet
from condensed_data.training.protocols import quick
from condensed_data_nas import ProxyObjective, convnet_space

SPACE = convnet_space(widths=(4, 8), depths=(1, 2, 4), norms=("none", "instance", "batch"), poolings=("avg",))
FINE = {"width": 8, "depth": 2, "norm": "instance", "activation": "relu", "pooling": "avg"}
SMALLER = {**FINE, "width": 4}
LIVELY = replace(quick(), name="lively", lr=0.1)  # learns in few epochs
TOO_DEEP = {**FINE, "depth": 4}  # 12 pixels halved four times leave none


def samples(per_class: int, seed: int) -> TensorDataset:
    """Noisy patterns of 3 classes: (n, 1, 12, 12) in [0, 1]."""
    patterns = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(3).repeat_interleave(per_class)
    noise = torch.randn(len(labels), 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    return TensorDataset((patterns[labels] + 0.35 * noise).clamp(0, 1), labels)


def condensed(recipe: Any = None) -> CondensedDataset:
    """Four samples per class."""
    chosen = recipe or recipes.random(ipc=4)
    return CondensedDataset(samples(20, 1), chosen, cache=False, progress=False, device="cpu", precision="fp32")


def objective(build_model: Any = None, made: CondensedDataset | None = None, **changes: Any) -> ProxyObjective:
    """An objective that trains networks for 5 epochs."""
    options: dict[str, Any] = {"val": samples(20, 2), "space": SPACE, "training": LIVELY, "epochs": 5}
    options |= {"device": "cpu", "precision": "fp32", **changes}
    return ProxyObjective(made or condensed(), build_model, **options)


def by_trial(trial: Any) -> ConvNet:
    """A build_model that suggests values itself."""
    return ConvNet(trial.suggest_categorical("width", [4, 8]), depth=trial.suggest_int("depth", 1, 4))


def plain_module(config: dict[str, Any]) -> nn.Module:
    """A build_model that returns a module."""
    return nn.Sequential(nn.Flatten(), nn.Linear(144, config["width"]), nn.ReLU(), nn.Linear(config["width"], 3))


def dies_once(config: dict[str, Any]) -> ConvNet:
    """Kills its process at the first network of width 8, as happens when memory runs out."""
    mark = Path(os.environ["NAS_TEST_MARK"])
    if config["width"] == 8 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return ConvNet(**config)


def dies_at_the_fourth(trial: Any) -> ConvNet:
    """Kills its process in trial 3, once."""
    if trial.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return by_trial(trial)


if __name__ == "__main__":  # a search that its test kills
    from condensed_data_nas.optuna_study import search

    search(objective(dies_at_the_fourth, space=None), 6, storage=sys.argv[1])
