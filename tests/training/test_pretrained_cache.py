"""Networks trained on the real samples, and the folder that keeps them."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from pool_data import NETWORK, SIZES, context, samples, small_real
from sources import real as real_of
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.atomic import temporary_name
from condensed_data.core.process_group import ProcessGroup
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import from_json, to_json
from condensed_data.networks import MLP
from condensed_data.training import trained_networks as trained_module
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import INVALID_FILE_ERRORS, PretrainedCache
from condensed_data.training.pretraining import Pretraining, PretrainingJob, TrainedNetwork, train
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trained_networks import initial_network, pretraining_jobs, trained_networks

QUICK = Pretraining(epochs=2, networks=2, sgd=SGDConfig(0.05, 0.9, 1e-3, batch_size=16))


def same(first: TrainedNetwork, second: TrainedNetwork) -> bool:
    weights = all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    return weights and torch.equal(first.centers, second.centers) and torch.equal(first.forgotten, second.forgotten)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[PretrainingJob]:
    """The jobs that are trained from here on."""
    jobs: list[PretrainingJob] = []

    def counted(job: PretrainingJob, *listeners: Any) -> TrainedNetwork:
        jobs.append(job)
        return train(job, *listeners)

    monkeypatch.setattr(trained_module, "train", counted)
    return jobs


def reference(where: Context, network: Any, pretraining: Pretraining, index: int) -> tuple[nn.Module, Tensor]:
    """Training and forgetting written from their definitions, sample by sample."""
    real, steps = where.real, pretraining.sgd
    seed = where.rng.seed_for("trained network", index)
    module = networks.build(network, real.num_classes, real.sample_shape, RandomStreams(seed).seed_for("network"))
    optimizer = torch.optim.SGD(module.parameters(), steps.lr, steps.momentum, weight_decay=steps.weight_decay)
    drops = [int(pretraining.epochs * at) for at in pretraining.milestones]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops, pretraining.decay)
    was, forgotten = [False] * len(real), [0] * len(real)
    for epoch in range(pretraining.epochs):
        draws = RandomStreams(RandomStreams(seed).seed_for("epoch", epoch))
        order = torch.randperm(len(real), generator=draws.torch("shuffle"))
        for start in range(0, len(real), steps.batch_size):
            rows = order[start : start + steps.batch_size]
            logits = module(real[rows])
            for row, predicted in zip(rows.tolist(), logits.argmax(1).tolist(), strict=True):
                right = predicted == int(real.labels[row])
                forgotten[row] += was[row] and not right
                was[row] = right
            optimizer.zero_grad()
            F.cross_entropy(logits, real.labels[rows]).backward()
            optimizer.step()
        scheduler.step()
    return module, torch.tensor(forgotten)


@pytest.mark.parametrize("milestones", [(), (2 / 3, 5 / 6)])
def test_training_equals_its_definition(milestones: tuple[float, ...]) -> None:
    noise = real_of(samples()[0], torch.arange(sum(SIZES)) % 3)  # hard to learn, so that some is forgotten
    where, pretraining = context(noise), replace(QUICK, epochs=6, milestones=milestones)
    found = trained_networks(where, NETWORK, pretraining)
    assert len(found) == 2
    for index in range(2):
        module, forgotten = reference(where, NETWORK, pretraining, index)
        for name, weight in module.state_dict().items():
            torch.testing.assert_close(found[index].weights[name], weight, rtol=1e-4, atol=1e-5)
        assert found[index].forgotten.tolist() == forgotten.tolist()
    assert int(found[0].forgotten.sum()) > 0
    assert not same(found[0], found[1])


def test_networks_learn_and_their_centers_are_class_means() -> None:
    where = context()
    (found,) = trained_networks(where, NETWORK, replace(QUICK, epochs=8, networks=1))
    module = networks.build(NETWORK, 3, (1, 8, 8), 0)
    module.load_state_dict(found.weights)
    module.eval()
    rows = where.real[torch.arange(len(where.real))]
    with torch.no_grad():
        accuracy = (module(rows).argmax(1) == where.real.labels).float().mean()
        for label in range(3):
            mean = torch.stack([module.embed(row[None])[0] for row in rows[where.real.labels == label]]).mean(0)
            torch.testing.assert_close(found.centers[label], mean, rtol=1e-4, atol=1e-5)
    assert float(accuracy) > 0.9


def test_equal_requests_are_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = counting(monkeypatch)
    first = trained_networks(context(network_store=PretrainedCache(tmp_path)), NETWORK, QUICK)
    again = trained_networks(context(network_store=PretrainedCache(tmp_path)), NETWORK, QUICK)
    assert len(jobs) == 2
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    more = trained_networks(context(network_store=PretrainedCache(tmp_path)), NETWORK, replace(QUICK, networks=3))
    assert len(jobs) == 3  # only the missing one
    assert same(more[0], first[0])
    assert same(more[-1], trained_networks(context(), NETWORK, replace(QUICK, networks=3))[2])
    with pytest.raises(IndexError):
        more[3]


def test_each_kind_of_device_has_its_own_networks(tmp_path: Path) -> None:
    (job,) = pretraining_jobs(context(), NETWORK, replace(QUICK, networks=1))
    store, kind = PretrainedCache(tmp_path), trained_module.NetworkJobs()
    keys = [store._key(kind, replace(job, device=device)) for device in ("cpu", "cuda:0", "cuda:1", "mps")]
    assert len(set(keys)) == 3
    assert keys[1] == keys[2]


def test_everything_that_decides_the_bits_has_its_own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, one = PretrainedCache(tmp_path), replace(QUICK, networks=1, epochs=1)
    x, y = samples()
    moved = x.clone()
    moved[3, 0, 1, 1] += 1
    swapped = y.clone()
    swapped[:2] = swapped[:2].flip(0) if y[0] != y[1] else (y[:2] + 1) % 3
    requests = [
        (context(network_store=store), NETWORK, one),
        (context(seed=1, network_store=store), NETWORK, one),
        (context(real_of(moved, y), network_store=store), NETWORK, one),
        (context(real_of(x, swapped), network_store=store), NETWORK, one),
        (context(network_store=replace(store, fingerprint="another")), NETWORK, one),
        (context(precision="bf16", network_store=store), NETWORK, one),
        (context(network_store=store), MLP(8), one),
        (context(network_store=store), NETWORK, replace(one, epochs=2)),
        (context(network_store=store), NETWORK, replace(one, sgd=replace(one.sgd, lr=0.01))),
    ]
    jobs = counting(monkeypatch)
    for _ in range(2):
        for request in requests:
            trained_networks(*request)
    assert len(jobs) == len(requests) == len([path for path in tmp_path.iterdir() if path.is_dir()])


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_corrupt_file_is_reported_and_trained_again(tmp_path: Path, damage: str) -> None:
    where = context(network_store=PretrainedCache(tmp_path))
    first = trained_networks(where, NETWORK, QUICK)[1]
    (path,) = tmp_path.glob("*/1.safetensors")
    whole = path.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    path.write_bytes({"cut": whole[:-100], "flip": flipped, "empty": b""}[damage])
    with pytest.warns(UserWarning, match=r"1\.safetensors is corrupt .* training it again"):
        again = trained_networks(where, NETWORK, QUICK)[1]
    assert same(first, again)
    assert path.read_bytes() == whole


def test_a_flipped_bit_anywhere_in_a_file_is_noticed(tmp_path: Path) -> None:
    where = context(network_store=PretrainedCache(tmp_path))
    results = trained_networks(where, NETWORK, QUICK)
    (path,) = tmp_path.glob("*/0.safetensors")
    whole, draw = path.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    for position in [*draw.sample(range(header), 80), *draw.sample(range(header, len(whole)), 80)]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(INVALID_FILE_ERRORS):
            results._read(0)


def test_only_one_of_several_readers_replaces_a_corrupt_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = context(network_store=PretrainedCache(tmp_path))
    first = trained_networks(where, NETWORK, QUICK)[1]
    (path,) = tmp_path.glob("*/1.safetensors")
    readers = [trained_networks(where, NETWORK, QUICK) for _ in range(3)]
    path.write_bytes(path.read_bytes()[:-100])
    jobs = counting(monkeypatch)
    with pytest.warns(UserWarning, match="is corrupt"), ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda networks: networks[1], readers))
    assert len(jobs) == 1
    assert all(same(first, other) for other in found)


def test_a_folder_that_cannot_be_written_keeps_results_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    where = context(network_store=PretrainedCache(tmp_path / "file"))
    with pytest.warns(UserWarning, match="Cannot write trained networks to .*; keeping them in memory"):
        found = trained_networks(where, NETWORK, QUICK)
    assert same(found[0], trained_networks(context(), NETWORK, QUICK)[0])


def test_a_callable_without_a_name_is_trained_but_not_store(tmp_path: Path) -> None:
    def network(num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
        return MLP(4)(num_classes, sample_shape)

    found = trained_networks(context(network_store=PretrainedCache(tmp_path)), network, QUICK)
    assert len(found) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_gives_the_same_bits(tmp_path: Path, kind: str) -> None:
    alone = trained_networks(context(), NETWORK, QUICK)
    seen: list[tuple[int, int]] = []
    pool = (
        ThreadPoolExecutor(2)
        if kind == "threads"
        else ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))
    )
    with pool:
        store = PretrainedCache(tmp_path, executor=pool, report=lambda done, of: seen.append((done, of)))
        found = trained_networks(context(network_store=store), NETWORK, QUICK)
        assert all(same(a, b) for a, b in zip(alone, found, strict=True))
    samples = 3 * len(context().real)  # two epochs, and one pass for the class means
    assert seen == [(0, 2 * samples), (samples, 2 * samples), (2 * samples, 2 * samples)]


def test_only_one_of_several_concurrent_requests_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = counting(monkeypatch)
    where = context(network_store=PretrainedCache(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: trained_networks(where, NETWORK, QUICK)[1], range(4)))
    assert len(jobs) == 2
    assert all(same(found[0], other) for other in found)


class ThreadRanks(ProcessGroup):
    """Two ranks that are threads of this process."""

    shared: ClassVar[dict[str, Any]] = {}
    here: ClassVar[threading.Barrier] = threading.Barrier(2, timeout=60)

    def broadcast(self, message: Any = None) -> Any:
        if self.is_main:
            self.shared["message"] = message
        self.barrier()
        found = self.shared["message"]
        self.barrier()
        return found

    def barrier(self) -> None:
        self.here.wait()


def test_each_rank_trains_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, four = counting(monkeypatch), replace(QUICK, networks=4)
    alone = trained_networks(context(), NETWORK, four)
    jobs.clear()

    def on_rank(rank: int) -> list[TrainedNetwork]:
        store = PretrainedCache(tmp_path, ranks=ThreadRanks(rank, 2))
        return list(trained_networks(context(network_store=store), NETWORK, four))

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(on_rank, range(2)))
    assert len(jobs) == len({job.seed for job in jobs}) == 4
    for networks_of_rank in found:
        assert all(same(a, b) for a, b in zip(alone, networks_of_rank, strict=True))


def test_partial_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    where = context(network_store=PretrainedCache(tmp_path))
    trained_networks(where, NETWORK, QUICK)
    (folder,) = tmp_path.iterdir()
    (folder / temporary_name()).write_bytes((folder / "1.safetensors").read_bytes()[:50])
    (folder / "1.safetensors").unlink()
    trained_networks(where, NETWORK, QUICK)
    assert sorted(path.name for path in folder.glob("*")) == ["0.safetensors", "1.safetensors", "lock"]


def test_a_full_disk_keeps_results_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        found = trained_networks(context(network_store=PretrainedCache(tmp_path)), NETWORK, QUICK)
    assert same(found[1], trained_networks(context(), NETWORK, QUICK)[1])
    assert list(tmp_path.glob("*/*.safetensors*")) == list(tmp_path.glob("*/.*")) == []


def test_progress_is_reported_from_the_start_and_in_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    store = PretrainedCache(report=lambda done, of: seen.append((done, of)))
    trained_networks(context(network_store=store), NETWORK, QUICK)
    samples = len(context().real)
    done = [done for done, _ in seen]
    assert done == sorted(done)
    assert done[0] == 0
    assert len(done) > 4 * samples // 16  # batches of 16
    assert seen[-1] == (6 * samples, 6 * samples)  # two networks: two epochs, and one pass for the class means
    assert "networks: 2 of 2 to train for 2 epochs each" in capsys.readouterr().out


def test_global_random_states_stay(untouched_rng: None) -> None:
    class Dropped(nn.Module):
        def __init__(self, num_classes: int, sample_shape: tuple[int, ...]) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, num_classes))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    where = context()
    first, again = (train(pretraining_jobs(where, Dropped, QUICK)[0]) for _ in range(2))
    assert same(first, again)


def test_divergence_names_the_remedy() -> None:
    with pytest.raises(FloatingPointError, match=r"diverged .* lower SGDConfig\(lr=1e\+20\)"):
        train(pretraining_jobs(context(), MLP(8), Pretraining(2, 1, SGDConfig(lr=1e20, weight_decay=1.0)))[0])


def test_any_shape_and_large_batches_in_chunks() -> None:
    for shape in ((5,), (2, 9), (3, 9, 11)):
        found = trained_networks(context(small_real(shape)), networks.default_network(shape), QUICK)
        assert found[0].centers.shape[0] == 3
        assert bool(torch.isfinite(found[0].centers).all())


def test_initial_weights_are_those_before_training() -> None:
    where, still = context(), Pretraining(1, 1, SGDConfig(lr=1e-30))
    (found,) = trained_networks(where, NETWORK, still)
    before = initial_network(where, NETWORK, 0).state_dict()
    for name, weight in found.weights.items():
        torch.testing.assert_close(weight, before[name])


def test_schedules_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Pretraining\(milestones=\(40,\)\) must be fractions in \(0, 1\)"):
        Pretraining(milestones=(40,))
    with pytest.raises(ValueError, match=r"Pretraining\(decay=0\) must be positive"):
        Pretraining(decay=0)


@pytest.mark.parametrize(("fields", "name"), [({"epochs": 0}, "epochs"), ({"networks": 1.5}, "networks")])
def test_counts_are_checked(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"Pretraining\({name}=.*\) must be an integer"):
        Pretraining(**fields)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"lr": 0}, "lr"),
        ({"momentum": 1.0}, "momentum"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"batch_size": 0}, "batch_size"),
        ({"cutmix": 2}, "cutmix"),
    ],
)
def test_descents_are_checked(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"SGDConfig\({name}="):
        SGDConfig(**fields)


def test_specifications_survive_json() -> None:
    assert from_json(json.loads(json.dumps(to_json(QUICK)))) == QUICK
