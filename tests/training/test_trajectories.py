"""Trajectories of experts: their training, compared with its definition, and how they are cached."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from expert_training import QUICK, by_hand, flat
from pool_data import NETWORK, context

from condensed_data import networks
from condensed_data.core.atomic import temporary_name
from condensed_data.training.pretrained_cache import PretrainedCache
from condensed_data.training.pretraining import PretrainingJob
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trained_networks import pretraining_jobs
from condensed_data.training.trajectories import ExpertJobs, ExpertTrajectory, expert_trajectories


def counting(monkeypatch: pytest.MonkeyPatch) -> list[PretrainingJob]:
    jobs: list[PretrainingJob] = []

    train = ExpertJobs.train

    def counted(kind: ExpertJobs, job: PretrainingJob, *arguments: Any) -> ExpertTrajectory:
        jobs.append(job)
        return train(kind, job, *arguments)

    monkeypatch.setattr(ExpertJobs, "train", counted)
    return jobs


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("kept", [True, False])
def test_trajectories_are_those_of_training_by_hand(precision: str, kept: bool, tmp_path: Path) -> None:
    where = context(network_store=PretrainedCache(tmp_path)) if kept else context()
    found = expert_trajectories(where, NETWORK, QUICK, precision)
    module = networks.build(NETWORK, 3, (1, 8, 8), 0)
    for index in range(2):
        for epoch, expected in enumerate(by_hand(where, index)):
            weights = flat(found[index].at(epoch), module)
            close = {"rtol": 1e-3, "atol": 1e-6} if precision == "fp16" else {"rtol": 1e-5, "atol": 1e-6}
            torch.testing.assert_close(weights, expected, **close)
    if kept:
        values = sum(weight.numel() for weight in module.parameters()) * 5
        size = next(tmp_path.glob("*/0.safetensors")).stat().st_size
        assert size == pytest.approx(values * (2 if precision == "fp16" else 4), abs=1500)


def test_experts_are_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, where = counting(monkeypatch), context(network_store=PretrainedCache(tmp_path))
    first = expert_trajectories(where, NETWORK, QUICK, "fp16")
    assert len(jobs) == 2
    more = expert_trajectories(where, NETWORK, replace(QUICK, networks=3), "fp16")
    assert len(jobs) == 3  # the third alone
    for name, weight in first[1].at(4).items():
        assert torch.equal(weight, more[1].at(4)[name])
    expert_trajectories(context(seed=1, network_store=PretrainedCache(tmp_path)), NETWORK, QUICK, "fp16")
    expert_trajectories(where, NETWORK, QUICK, "fp32")
    assert len(jobs) == 7


def test_progress_counts_the_samples_of_missing_experts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reported: list[tuple[int, int]] = []
    expert_trajectories(context(network_store=PretrainedCache(tmp_path)), NETWORK, replace(QUICK, networks=1), "fp16")
    store = PretrainedCache(tmp_path, report=lambda *done: reported.append(done))
    expert_trajectories(context(network_store=store), NETWORK, replace(QUICK, networks=3), "fp16")
    samples = 8 * len(context().real)  # two experts, four epochs
    assert reported[0] == (0, samples)
    assert reported[-1] == (samples, samples)
    assert "experts: 2 of 3 to train for 4 epochs each" in capsys.readouterr().out


def test_a_corrupt_or_partial_file_is_trained_again(tmp_path: Path) -> None:
    where = context(network_store=PretrainedCache(tmp_path))
    before = expert_trajectories(where, NETWORK, QUICK, "fp16")[1].at(3)
    path = next(tmp_path.glob("*/1.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    path.with_name(temporary_name()).write_bytes(b"partial")
    with pytest.warns(UserWarning, match="is corrupt .* training it again"):
        after = expert_trajectories(where, NETWORK, QUICK, "fp16")[1].at(3)
    for name, weight in before.items():
        assert torch.equal(weight, after[name])
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []


def test_without_a_writable_folder_they_stay_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    where = context(network_store=PretrainedCache(tmp_path / "file"))
    with pytest.warns(UserWarning, match="Cannot write trained networks"):
        found = expert_trajectories(where, NETWORK, QUICK, "fp16")
    for name, weight in expert_trajectories(context(), NETWORK, QUICK, "fp16")[0].at(2).items():
        assert torch.equal(weight, found[0].at(2)[name])


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_trains_the_same_experts(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    reported: list[tuple[int, int]] = []
    alone = expert_trajectories(context(), NETWORK, QUICK, "fp16")
    spawn = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(1, spawn) as executor:
        store = PretrainedCache(executor=executor, report=lambda *done: reported.append(done))
        found = expert_trajectories(context(network_store=store), NETWORK, QUICK, "fp16")
    for index in range(2):
        for name, weight in alone[index].at(4).items():
            assert torch.equal(weight, found[index].at(4)[name])
    samples = 4 * len(context().real)  # of the four epochs of an expert
    assert reported == [(0, 2 * samples), (samples, 2 * samples), (2 * samples, 2 * samples)]
    assert "experts: 2 of 2 to train for 4 epochs each, " in capsys.readouterr().out


def test_weights_that_outgrow_the_precision_raise() -> None:
    steep = replace(QUICK, sgd=SGDConfig(1e30, batch_size=16))
    with pytest.raises(FloatingPointError, match="not finite in fp16"):
        ExpertJobs("fp16").train(pretraining_jobs(context(), NETWORK, steep)[0])
