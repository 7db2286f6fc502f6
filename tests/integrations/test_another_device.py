"""The integrations give the results of the CPU on another device, and never mix tensors of two devices."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche_tools import SHAPE, old_kind, tiny
from nas_data import FINE, objective
from simulated_device import DEVICE, simulated, use_device
from torch import Tensor

from condensed_data_avalanche import CondensedBuffer
from condensed_data_avalanche.memory_recipe import fast
from condensed_data_nas import ProxyObjective
from condensed_data_nas.zero_cost import SCORES, ZeroCost


@pytest.mark.parametrize("recipe", ["fast", "dm", "dm of several formations"])
def test_a_memory_is_condensed_on_the_strategys_device(recipe: str) -> None:
    def memory_samples(device: torch.device) -> Tensor:
        used = fast(3) if recipe == "fast" else tiny()
        factor = 2 if recipe == "dm of several formations" else 1
        memory = CondensedBuffer(8, recipe=used, factor=factor, precision="fp32")
        for experience in old_kind().train_stream:
            memory.update(SimpleNamespace(experience=experience, device=device))
        return torch.stack([memory.buffer[row][0] for row in range(len(memory.buffer))])

    here = memory_samples(torch.device("cpu"))
    with simulated() as waits:
        there = memory_samples(DEVICE)
        assert waits
    assert here.shape == (8, *SHAPE)
    assert torch.equal(here, there)


@pytest.mark.parametrize("options", [{}, {"seeds": 2, "batched": True}, {"recalibrate": True}])
def test_a_proxy_gives_the_accuracy_of_the_cpu(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config = {**FINE, "norm": "batch"}
    here = objective(**options)(config)
    with simulated() as waits, use_device(monkeypatch, DEVICE):
        there = objective(**options)(config)
        assert waits
    assert here == there


@pytest.mark.parametrize("score", SCORES)
def test_zero_cost_scores_are_those_of_the_cpu(score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def scored(proxy: ProxyObjective) -> float:
        return ZeroCost(score, proxy)(FINE)

    here = scored(objective())
    with simulated(), use_device(monkeypatch, DEVICE):
        assert scored(objective()) == here
