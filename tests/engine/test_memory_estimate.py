"""The estimated memory of a build against what its steps keep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sources import real

from condensed_data import recipes
from condensed_data.core.rng import RandomStreams
from condensed_data.engine import memory_estimate
from condensed_data.engine.loop import CondensationRun
from condensed_data.engine.memory_estimate import MemoryEstimate, TooLargeError, estimate_memory, fit_memory
from condensed_data.networks import ConvNet
from condensed_data.training.context import Context

NET = ConvNet(width=8, depth=2)


def started(name: str = "dd", **options: Any) -> CondensationRun:
    draw = torch.Generator().manual_seed(0)
    where = real(torch.randn(60, 1, 12, 12, generator=draw), torch.arange(60) % 3)
    fields = {"ipc": 4, "iterations": 1, "batch": 10, "network": NET}
    recipe = recipes.get(name, **(fields | options)).resolve((1, 12, 12), ["a", "b", "c"], samples=60)
    return CondensationRun(recipe, Context(where, recipe.ipc, RandomStreams(0), torch.device("cpu"), compiles=False))


def needed(run: CondensationRun) -> MemoryEstimate:
    return estimate_memory(run.parts, run.context, run.plan.largest_block)


def fitted(run: CondensationRun) -> MemoryEstimate:
    return fit_memory(run.parts, run.context, run.plan.largest_block)[0]


def activations(unroll: str, epochs: int) -> tuple[int, int]:
    found = needed(started(steps=2, epochs=epochs, unroll=unroll))
    return found.activations, found.weights


def test_an_estimate_follows_the_kind_of_unroll() -> None:
    network = sum(w.numel() * 4 for w in NET(3, (1, 12, 12)).parameters())
    full = [activations("full", epochs) for epochs in (1, 2, 3)]
    assert full[2][0] - full[1][0] == full[1][0] - full[0][0] > 0  # linear in T
    assert full[2][1] == 2 * 6 * network
    kept = [activations("checkpointed", epochs) for epochs in (1, 3)]
    assert kept[0][0] == kept[1][0] < full[0][0]
    assert kept[1][1] - kept[0][1] == 4 * network
    constant = [activations("constant", epochs) for epochs in (1, 3)]
    assert constant[0] == constant[1]
    assert constant[0][0] == kept[0][0]


def test_an_unroll_that_does_not_fit_is_refused_with_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    run = started(steps=2, epochs=3, unroll="full")
    free = needed(run).working - 1
    monkeypatch.setattr(memory_estimate, "free_memory", lambda device: free)
    with pytest.raises(TooLargeError, match=r"Use a smaller ipc, unroll='checkpointed', fewer training steps, or"):
        fitted(run)
    assert "weights" in str(fitted(started(steps=2, epochs=3, unroll="checkpointed")))


def test_other_objectives_keep_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    run = started("dm")
    assert needed(run).weights == 0
    monkeypatch.setattr(memory_estimate, "free_memory", lambda device: 1)
    with pytest.raises(TooLargeError, match=r"Use a smaller ipc, or a smaller sampler\.batch or network\."):
        fitted(run)


MEASURED = """
import resource, sys, torch
sys.path.insert(0, {support!r})
torch.set_num_threads(1)
from sources import real
from condensed_data import recipes
from condensed_data.engine.memory_estimate import estimate_memory
from condensed_data.engine.loop import CondensationRun
from condensed_data.networks import ConvNet
from condensed_data.core.rng import RandomStreams
from condensed_data.training.context import Context
where = real(torch.randn(1200, 1, 28, 28), torch.arange(1200) % 10)
recipe = recipes.dd(ipc=10, steps=10, epochs=3, iterations=1, network=ConvNet(width=64))
recipe = recipe.resolve((1, 28, 28), [str(i) for i in range(10)], samples=1200)
run = CondensationRun(recipe, Context(where, 10, RandomStreams(0), torch.device("cpu"), compiles=False))
estimated = estimate_memory(run.parts, run.context, run.plan.largest_block).working
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run.step()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = 1 if sys.platform == "darwin" else 1024
print(estimated, unit * (after - before), unit * after)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thirty_checkpointed_steps_of_a_wide_network_fit_in_four_gigabytes() -> None:
    code = MEASURED.format(support=str(Path(__file__).parents[1] / "support"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    estimated, grown, peak = map(int, done.stdout.split())
    assert peak < 4e9
    assert grown < 1.2 * estimated
    assert estimated < 4e9
