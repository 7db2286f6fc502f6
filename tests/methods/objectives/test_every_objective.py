"""Every objective works inside a run, resumes, is stored, and refuses impossible sizes early."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from sources import real

from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import from_json, to_json
from condensed_data.data.augment import Identity
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.base import Objective, Pool, PoolState
from condensed_data.methods.objectives import (
    Centralization,
    CharacteristicFunction,
    Covariance,
    CrossEntropy,
    Discrimination,
    Gradient,
    KernelMMD,
    LayerAlignment,
    RidgeRegression,
)
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.synthetic import Pixels
from condensed_data.networks import ConvNet
from condensed_data.storage import checkpoint
from condensed_data.training.context import Context

OBJECTIVES: list[Objective] = [
    CrossEntropy(),
    Gradient(),
    Gradient("l1", "conv"),
    Gradient("cosine", "all"),
    LayerAlignment(),
    Discrimination(),
    Covariance(),
    Centralization(),
    KernelMMD(),
    CharacteristicFunction(32),
    RidgeRegression(),
]


def run(
    objective: Objective, step: str = "iteration", shape: tuple[int, ...] = (1, 8, 8), ipc: int = 2
) -> CondensationRun:
    """A run over three classes of ten samples."""
    labels = torch.arange(30) % 3
    samples = torch.randn(30, *shape, generator=torch.Generator().manual_seed(1)) + labels.view(-1, *[1] * len(shape))
    recipe = Recipe(
        name="test",
        synthetic=Pixels(),
        terms=(Term(objective, RandomInit(ConvNet(8, 1)), PerGroup(6), Identity()),),
        optimizer=Optimizer(lr=0.1),
        iterations=4,
        ipc=ipc,
        step_per=step,
    )
    return CondensationRun(recipe, Context(real(samples, labels), ipc, RandomStreams(0), torch.device("cpu")))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_runs_and_every_sample_moves_and_resumes_to_the_same_bits(objective: Objective, tmp_path: Path) -> None:
    for step in ("iteration", "class") if objective.separable else ("iteration",):
        whole = run(objective, step)
        before = whole.synthetic_data.decode(torch.arange(6)).detach().clone()
        losses = [whole.step() for _ in range(2)]
        checkpoint.write(tmp_path / step, whole.state_dict(), {})
        resumed = run(objective, step)
        resumed.load_state_dict(checkpoint.read(tmp_path / step, {}))
        losses += [whole.step() for _ in range(2)]
        assert torch.equal(losses[2], resumed.step())
        assert torch.equal(losses[3], resumed.step())
        images = whole.synthetic_data.decode(torch.arange(6)).detach()
        assert torch.equal(images, resumed.synthetic_data.decode(torch.arange(6)))
        assert bool(torch.isfinite(torch.stack(losses)).all())
        assert bool(((images - before).flatten(1).abs().sum(1) > 0).all())


def test_signals_too() -> None:
    for objective in OBJECTIVES:
        assert bool(torch.isfinite(run(objective, shape=(2, 12)).step()))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_a_stored_objective_is_rebuilt(objective: Objective) -> None:
    assert from_json(to_json(objective)) == objective


@dataclass(frozen=True)
class _Slow(Pool):
    """A pool that must not be started."""

    def start(self, context: Context) -> PoolState:
        raise AssertionError("networks were trained before the sizes were checked")


@pytest.mark.parametrize(
    ("objective", "step", "ipc", "message"),
    [
        (Covariance(), "iteration", 1, "Covariance needs at least two synthetic samples"),
        (Centralization(), "class", 1, "Centralization.* needs at least two synthetic samples"),
        (Discrimination(), "class", 2, "Discrimination compares classes"),
    ],
)
def test_impossible_objectives_are_refused_before_networks_train(
    objective: Objective, step: str, ipc: int, message: str
) -> None:
    good = run(Gradient(), step, ipc=ipc)
    slow = Term(objective, _Slow(), PerGroup(6), Identity())
    with pytest.raises(ValueError, match=message):
        CondensationRun(replace(good.recipe, terms=(replace(slow, objective=Gradient()), slow)), good.context)
