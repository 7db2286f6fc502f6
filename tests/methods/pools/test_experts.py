"""Experts: their training written from its definition, what is kept of it, and what is lent."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pool_data import NETWORK, context, small_real, through_a_file, weights_of
from torch import Tensor

from condensed_data import networks
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import from_json, to_json
from condensed_data.data.augment import Identity, SiameseAugment
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.objectives import Trajectory
from condensed_data.methods.pools import Experts
from condensed_data.methods.pools import expert_trajectories as trajectories
from condensed_data.methods.pools.expert_trajectories import Trajectories, train_expert
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.methods.synthetic import Pixels, WithSteps
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache
from condensed_data.training.pretraining import Pretraining, PretrainingJob, job_of
from condensed_data.training.sgd import SGDConfig

QUICK = Pretraining(epochs=4, networks=2, sgd=SGDConfig(0.05, batch_size=16))
POOL = Experts(NETWORK, QUICK, ahead=2)


def by_hand(where: Context, index: int) -> list[Tensor]:
    """All parameters of an expert after every epoch, from the definition of SGD."""
    real, seed = where.real, where.rng.seed_for("trained network", index)
    module = networks.build(
        NETWORK, real.num_classes, real.sample_shape, RandomStreams(seed).seed_for("network")
    )
    seen = [weights_of(module)]
    for epoch in range(QUICK.epochs):
        draws = RandomStreams(RandomStreams(seed).seed_for("epoch", epoch))
        order = torch.randperm(len(real), generator=draws.torch("shuffle"))
        for rows in order.split(16):
            module.zero_grad()
            F.cross_entropy(module(real[rows]), real.labels[rows]).backward()
            with torch.no_grad():
                for weight in module.parameters():
                    weight -= 0.05 * weight.grad
        seen.append(weights_of(module))
    return seen


def flat(weights: dict[str, Tensor], like: Any) -> Tensor:
    return torch.cat([weights[name].flatten() for name, _ in like.named_parameters()])


def counting(monkeypatch: pytest.MonkeyPatch) -> list[PretrainingJob]:
    jobs: list[PretrainingJob] = []

    def noted(job: PretrainingJob, *arguments: Any) -> dict[str, Tensor]:
        jobs.append(job)
        return train_expert(job, *arguments)

    monkeypatch.setattr(trajectories, "train_expert", noted)
    return jobs


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("kept", [True, False])
def test_trajectories_are_those_of_training_by_hand(precision: str, kept: bool, tmp_path: Path) -> None:
    where = context(trained=PretrainedCache(tmp_path)) if kept else context()
    found = Trajectories(where, NETWORK, QUICK, precision)
    module = networks.build(NETWORK, 3, (1, 8, 8), 0)
    for index in range(2):
        for epoch, expected in enumerate(by_hand(where, index)):
            weights = flat(found.at(index, epoch), module)
            close = {"rtol": 1e-3, "atol": 1e-6} if precision == "fp16" else {"rtol": 1e-5, "atol": 1e-6}
            torch.testing.assert_close(weights, expected, **close)
    if kept:
        values = sum(weight.numel() for weight in module.parameters()) * 5
        size = next(tmp_path.glob("*/0.safetensors")).stat().st_size
        assert size == pytest.approx(values * (2 if precision == "fp16" else 4), abs=1500)


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


def test_experts_are_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, where = counting(monkeypatch), context(trained=PretrainedCache(tmp_path))
    first = Trajectories(where, NETWORK, QUICK, "fp16")
    assert len(jobs) == 2
    more = Trajectories(where, NETWORK, replace(QUICK, networks=3), "fp16")
    assert len(jobs) == 3  # the third alone
    for name, weight in first.at(1, 4).items():
        assert torch.equal(weight, more.at(1, 4)[name])
    Trajectories(context(seed=1, trained=PretrainedCache(tmp_path)), NETWORK, QUICK, "fp16")
    Trajectories(where, NETWORK, QUICK, "fp32")
    assert len(jobs) == 7


def test_progress_is_told_by_epoch_and_what_is_kept_is_not_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int]] = []
    Trajectories(context(trained=PretrainedCache(tmp_path)), NETWORK, replace(QUICK, networks=1), "fp16")
    store = PretrainedCache(tmp_path, report=lambda *done: told.append(done))
    Trajectories(context(trained=store), NETWORK, replace(QUICK, networks=3), "fp16")
    assert told == [(done, 8) for done in range(1, 9)]
    assert "experts: 2 of 3 to train for 4 epochs each" in capsys.readouterr().out


def test_a_damaged_or_partial_file_is_trained_again(tmp_path: Path) -> None:
    where = context(trained=PretrainedCache(tmp_path))
    before = Trajectories(where, NETWORK, QUICK, "fp16").at(1, 3)
    path = next(tmp_path.glob("*/1.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    path.with_name(".0.safetensors.1").write_bytes(b"partial")
    with pytest.warns(UserWarning, match="damaged and is trained again"):
        after = Trajectories(where, NETWORK, QUICK, "fp16").at(1, 3)
    for name, weight in before.items():
        assert torch.equal(weight, after[name])
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []


def test_without_a_folder_to_write_they_stay_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    where = context(trained=PretrainedCache(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be kept"):
        found = Trajectories(where, NETWORK, QUICK, "fp16")
    for name, weight in Trajectories(context(), NETWORK, QUICK, "fp16").at(0, 2).items():
        assert torch.equal(weight, found.at(0, 2)[name])


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_trains_the_same_experts(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    alone = Trajectories(context(), NETWORK, QUICK, "fp16")
    spawn = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(1, spawn) as executor:
        store = PretrainedCache(executor=executor, report=lambda *done: told.append(done))
        found = Trajectories(context(trained=store), NETWORK, QUICK, "fp16")
    for index in range(2):
        for name, weight in alone.at(index, 4).items():
            assert torch.equal(weight, found.at(index, 4)[name])
    assert told == [(4, 8), (8, 8)]
    assert "experts: 2 of 2 to train for 4 epochs each, " in capsys.readouterr().out


def mtt(**fields: Any) -> Recipe:
    term = Term(
        Trajectory(), POOL, TrainingSteps(3, order="shuffled", batch=0), SiameseAugment(("crop", "scale"))
    )
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
    steep = replace(QUICK, sgd=SGDConfig(1e30, batch_size=16))
    with pytest.raises(FloatingPointError, match="not finite in fp16"):
        train_expert(job_of(context(), NETWORK, steep, 0))
    assert from_json(to_json(POOL)) == POOL


def test_global_random_states_stay(untouched_rng: None) -> None:
    POOL.start(context(small_real((2, 9, 7)))).network_at(0)
