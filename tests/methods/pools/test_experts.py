"""The experts pool: start and target weights, and runs that match them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expert_training import QUICK, by_hand, flat
from pool_data import NETWORK, context, small_real, through_a_file, weights_of

from condensed_data.core.spec import from_json, to_json
from condensed_data.data.augment import Identity, SiameseAugment
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.objectives import Trajectory
from condensed_data.methods.pools import Experts
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.methods.synthetic import Pixels, WithSteps

POOL = Experts(NETWORK, QUICK, ahead=2)


def test_a_start_and_its_target_are_epochs_of_one_expert() -> None:
    where = context()
    pool = POOL.start(where)
    hand = [by_hand(where, index) for index in range(2)]
    seen = set()
    for iteration in range(40):
        net = pool.network_at(iteration)
        begun, target = weights_of(net.module), flat(dict(net.target), net.module)
        matches = [
            (index, epoch)
            for index in range(2)
            for epoch in range(3)
            if torch.allclose(begun, hand[index][epoch], rtol=1e-3, atol=1e-6)
            and torch.allclose(target, hand[index][epoch + 2], rtol=1e-3, atol=1e-6)
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert seen == {(index, epoch) for index in range(2) for epoch in range(3)}


def mtt(**fields: Any) -> Recipe:
    term = Term(Trajectory(), POOL, TrainingSteps(3, order="shuffled", batch=0), SiameseAugment(("crop", "scale")))
    optimizer = Optimizer("sgd", lr=30.0, rates=(("step_sizes", 1e-3),))
    synthetic = WithSteps(Pixels(), lr=0.05, form="plain")
    return Recipe("mtt", synthetic, (replace(term, **fields),), optimizer, iterations=6, ipc=2)


@pytest.mark.parametrize("unroll", ["full", "checkpointed", "constant"])
def test_a_run_comes_nearer_to_the_experts(unroll: str) -> None:
    run = CondensationRun(mtt(objective=Trajectory(unroll), augment=Identity()), context())
    before = {name: tensor.detach().clone() for name, tensor in run.synthetic_data.learned.items()}
    losses = [float(run.step()) for _ in range(60)]
    assert sum(losses[-20:]) < 0.95 * sum(losses[:20])
    for name, tensor in run.synthetic_data.learned.items():
        assert bool((tensor.detach() != before[name]).any())


def test_a_resumed_run_has_the_same_bits(tmp_path: Path) -> None:
    whole, first, second = (CondensationRun(mtt(), context()) for _ in range(3))
    for run, steps in ((whole, 6), (first, 3)):
        for _ in range(steps):
            run.step()
    second.load_state_dict(through_a_file(first.state_dict(), tmp_path))
    for _ in range(3):
        second.step()
    for name, tensor in whole.synthetic_data.learned.items():
        assert torch.equal(tensor, second.synthetic_data.learned[name])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ahead=5\) must not exceed pretrain.epochs=4"):
        Experts(NETWORK, QUICK, ahead=5)
    with pytest.raises(ValueError, match=r"precision='int8'\) must be one of 'fp16', 'fp32'"):
        Experts(precision="int8")
    assert from_json(to_json(POOL)) == POOL


def test_global_random_states_stay(untouched_rng: None) -> None:
    POOL.start(context(small_real((2, 9, 7)))).network_at(0)
