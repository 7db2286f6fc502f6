"""Reading is a DataLoader's reading: lazily opened files in every worker, errors, and randomness that is noticed."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lazy_files
import numpy as np
import pytest
import torch
from sources import ListDataset, contents
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset

from condensed_data import CondensedDataset, recipes
from condensed_data.data import batched_reads
from condensed_data.data.batched_reads import BATCH, SECOND_READS, batch_size, read_batches, second_reads
from condensed_data.data.groups import Groups
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect, read

COUNT = 3 * BATCH  # three batches, so that three workers read at once
VALUES = lazy_files.samples(COUNT)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lazy")


@pytest.fixture
def method(request: pytest.FixtureRequest) -> Iterator[str]:
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def wrong(dataset: Any, values: Tensor, workers: int) -> int:
    """Number of samples or labels that are read wrongly."""
    found, labels = contents(inspect(dataset, workers))
    differ = (found != values).flatten(1).any(1) | (labels != torch.arange(len(values)) % lazy_files.CLASSES)
    return int(differ.sum())


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("name", lazy_files.KINDS)
def test_lazily_opened_files(name: str, workers: int, folder: Path) -> None:
    for _ in range(2):
        assert wrong(lazy_files.make(name, folder, VALUES), VALUES, workers) == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_lazily_opened_files_inside_other_datasets(workers: int, folder: Path) -> None:
    parts = [lazy_files.make(name, folder, VALUES) for name in lazy_files.KINDS]
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    found, _ = contents(inspect(ConcatDataset([Subset(part, order.tolist()) for part in parts]), workers))
    assert torch.equal(found, VALUES[order].repeat(len(parts), 1, 1, 1))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("method", "workers"),
    [
        pytest.param(method, workers, marks=[] if (method, workers) == ("forkserver", 1) else pytest.mark.slow)
        for method in ("spawn", "forkserver")
        for workers in (1, 2, 3)
    ],
    indirect=["method"],
)
def test_workers_that_are_not_forked(method: str, workers: int, folder: Path) -> None:
    """Starting one takes seconds, so all files are read at once; the slow tests repeat it."""
    for _ in range(1 if workers == 1 else 10):
        parts = [lazy_files.make(name, folder, VALUES) for name in lazy_files.KINDS]
        found, _ = contents(inspect(ConcatDataset(parts), workers))
        assert torch.equal(found, VALUES.repeat(len(parts), 1, 1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", lazy_files.KINDS)
def test_lazily_opened_files_again_and_again(name: str, folder: Path) -> None:
    for workers in (0, 1, 2, 3):
        for _ in range(20):
            assert wrong(lazy_files.make(name, folder, VALUES), VALUES, workers) == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_large_samples_are_read_in_smaller_batches(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the same to the last bit, statistics included."""
    samples = [(sample, index % 2) for index, sample in enumerate(torch.rand(300, 3, 8, 8))]
    usual = read(inspect(ListDataset(samples), workers), progress=False)
    monkeypatch.setattr(batched_reads, "BATCH_BYTES", 50 * 3 * 8 * 8 * 4)
    assert batch_size(3 * 8 * 8 * 4) == 48
    small = read(inspect(ListDataset(samples), workers), progress=False)
    index = torch.arange(300)
    assert torch.equal(small.store[index], usual.store[index])
    assert torch.equal(small.labels, usual.labels)
    assert small.fingerprint == usual.fingerprint
    assert torch.equal(small.space.mean, usual.space.mean)
    assert torch.equal(small.space.std, usual.space.std)
    samples[290] = (torch.full((3, 8, 8), torch.nan), 0)
    with pytest.raises(SourceError, match=r"source\[290\] contains NaN"):
        read(inspect(ListDataset(samples), workers), progress=False)


def test_a_batch_is_bounded_in_bytes() -> None:
    assert batch_size(1) == batch_size(28 * 28) == BATCH
    assert batch_size(3 * 1024 * 1024) == 16  # the least
    assert batch_size(3 * 224 * 224 * 4) == 96


def test_a_buffer_that_the_dataset_uses_again(folder: Path) -> None:
    class Reusing(ListDataset):
        buffer = torch.zeros(1, 4, 4)

        def __getitem__(self, index: int) -> Any:
            self.buffer.copy_(self.items[index])
            return self.buffer, 0

    samples = list(torch.rand(300, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
    for workers in (0, 2):
        assert torch.equal(contents(inspect(Reusing(samples), workers))[0], torch.stack(samples))


# Errors


def error_of(dataset: Any, workers: int = 2) -> str:
    with pytest.raises(SourceError) as error:
        contents(inspect(dataset, workers))
    assert multiprocessing.active_children() == []  # no worker outlives the error
    return str(error.value)


class Ends(Dataset[Any]):
    """Does something to its process at one sample."""

    def __init__(self, do: Any, at: int = 2 * BATCH + 5) -> None:
        self.do, self.at = do, at

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        if index == self.at:
            self.do()
        return VALUES[index], index % 2


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_quietly() -> None:
    os._exit(0)


def exit_with_an_error() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("do", [kill_self, exit_with_an_error, pytest.param(exit_quietly, marks=pytest.mark.slow)])
def test_a_worker_that_ends(do: Any) -> None:
    for at, batch in ((0, 0), (BATCH + 5, BATCH)):
        text = error_of(Ends(do, at))
        found = int(text.partition("source[")[2].partition("]")[0])
        assert text.startswith("A worker process ended while the samples from source[")
        assert found <= batch
        assert "num_workers=0" in text


def test_a_worker_that_ends_while_another_one_reads() -> None:
    class Slow(Ends):
        def __getitem__(self, index: int) -> Any:
            time.sleep(0.002 * (index < BATCH))
            return super().__getitem__(index)

    assert "source[0]" in error_of(Slow(kill_self, BATCH))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_dataset_is_short(workers: int) -> None:
    def fail() -> None:
        raise MemoryError("Unable to allocate 3 GiB")

    assert error_of(Ends(fail), workers) == "source[517] cannot be read: MemoryError: Unable to allocate 3 GiB"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is ignored in programs that a shell runs in the background, as it may run the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_of_the_user() -> None:
    class Once:
        done = False

        def __call__(self) -> None:
            if not self.done:
                self.done = True
                os.kill(os.getppid(), signal.SIGINT)
                time.sleep(0.5)

    with pytest.raises(KeyboardInterrupt):
        contents(inspect(Ends(Once()), 2))
    with pytest.raises(KeyboardInterrupt):
        contents(inspect(Ends(lambda: os.kill(os.getpid(), signal.SIGINT)), 0))


@pytest.mark.parametrize("method", ["spawn", "forkserver"], indirect=True)
def test_a_source_that_cannot_be_sent_to_a_worker(method: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as opened:
        holding = ListDataset([(torch.rand(3), 0)] * 9)
        holding.file = opened  # type: ignore[attr-defined]
        for dataset in (holding, ListDataset([(torch.rand(3), 0), (lambda: None, 1)])):
            text = error_of(dataset)
            assert text.startswith("The worker processes cannot start: ")
            assert "pickle" in text
            assert "Pass num_workers=0; or, if something cannot be pickled, define the dataset's classes" in text
    fixed = replace(inspect(ListDataset([(torch.rand(3), 0)] * 9)), num_workers=1)
    groups = Groups(lambda sample, label: 0, fixed)
    with pytest.raises(SourceError, match="cannot start"):
        groups.values()


def test_workers_inside_a_daemonic_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    assert "cannot start: AssertionError: daemonic processes" in error_of(Ends(print))


# Second reads


@pytest.mark.parametrize("count", [1, 2, 7, 128, 300, 5_000, 60_000])
def test_second_reads_are_spread(count: int) -> None:
    chosen = second_reads(count)
    assert len(chosen) == min(4 * count, SECOND_READS + count // 100)
    assert torch.equal(chosen, chosen.sort().values)
    parts = (chosen * 10 // count).bincount(minlength=10) if count >= 10 else chosen.bincount(minlength=count)
    assert parts.min() > 0.8 * parts.max() - 1
    assert chosen.min() >= 0
    assert chosen.max() < count
    for step in (2, 3, 4, 8, 10):  # whatever the dataset does in steps
        assert count < 100 or (chosen % step).unique().tolist() == list(range(step))


class Flipped(Dataset[Any]):
    """Flips a sample with probability `p`, as the pipelines of other libraries do, by a generator of one of them."""

    def __init__(self, p: float, draw: Any, count: int = 1_400) -> None:
        self.p, self.draw, self.count = p, draw, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        sample = VALUES[index % COUNT]
        return (sample.flip(-1) if self.draw() < self.p else sample), index % 2


DRAWS = {"random": random.random, "numpy": np.random.rand, "torch": lambda: float(torch.rand(()))}


def reads(dataset: Any, workers: int = 0) -> bool:
    try:
        contents(inspect(dataset, workers))
    except SourceError as error:
        return "differs between two reads" not in str(error)
    return True


@pytest.mark.parametrize("p", [0.1, 0.02])
@pytest.mark.parametrize("library", DRAWS)
def test_rare_flips_are_noticed(library: str, p: float) -> None:
    """In 13 trials per library; with `workers`, NumPy's generator may be in the same state in all of them."""
    assert not any(reads(Flipped(p, DRAWS[library])) for _ in range(13))
    assert not reads(Flipped(p, DRAWS[library]), 2)


@pytest.mark.slow
@pytest.mark.parametrize("count", [100, 300, 1_400, 10_000])
def test_the_stated_certainty(count: int) -> None:
    for p in (0.1, 0.02, 0.005):
        unnoticed = sum(reads(Flipped(p, random.random, count)) for _ in range(40))
        # a flip of a sample changes its second read unless that is flipped, too; up to four second reads of a sample
        expected = 40 * (1 - 2 * p * (1 - p)) ** min(2 * count, len(second_reads(count)))
        print(f"{count} samples, p = {p}: {unnoticed} of 40 unnoticed, at most {expected:.2g} expected")
        assert unnoticed <= expected + 3 * math.sqrt(expected)


def counting() -> float:
    counting.calls += 1  # type: ignore[attr-defined]
    return float(counting.calls % 7 != 0)  # type: ignore[attr-defined]


counting.calls = 0  # type: ignore[attr-defined]


class RandomLabels(ListDataset):
    def __getitem__(self, index: int) -> Any:
        sample, label = self.items[index]
        return sample, label if random.random() > 0.02 else 1 - label


class Unstable(ListDataset):
    """Some reads fail the second time."""

    seen = 0

    def __getitem__(self, index: int) -> Any:
        self.seen += 1
        if self.seen > 300:
            raise OSError("the network is down")
        return self.items[index]


def test_other_hidden_changes_are_noticed() -> None:
    items = [(sample.float(), 0) for sample in VALUES[:600, :, :4, :4]]
    for dataset in (
        Flipped(0.5, counting),
        Flipped(0.5, lambda: float(time.perf_counter_ns() // 1000 % 2)),
        RandomLabels(items),
        Unstable(items),
    ):
        assert not reads(dataset), dataset


def test_a_random_part_of_a_source_is_noticed() -> None:
    fixed = ListDataset([(sample, 0) for sample in VALUES])
    assert not reads(ConcatDataset([fixed, Flipped(0.5, random.random, 60), fixed]))


def test_random_groups_are_noticed() -> None:
    fixed = inspect(ListDataset([(sample, 0) for sample in VALUES]))
    with pytest.raises(SourceError, match=r"The groups function returned two different values for source\["):
        Groups(lambda sample, label: int(random.random() < 0.02), fixed).values()


def test_a_random_test_set_is_noticed() -> None:
    train = ListDataset([(sample.float(), index % 2) for index, sample in enumerate(VALUES)])
    small = CondensedDataset(train, recipes.random(2), cache=False, progress=False)
    noisy = Flipped(0.02, random.random)
    with pytest.raises(SourceError, match="differs between two reads"):
        small.evaluate(noisy, runs=1, progress=False)


def test_fixed_sources_pass_whatever_else_draws(untouched_rng: None) -> None:
    """Draws by index, with a generator of its own, are the same in every read."""

    class ByIndex(ListDataset):
        def __getitem__(self, index: int) -> Any:
            return torch.rand(4, generator=torch.Generator().manual_seed(index)), 0

    class WithNaN(ListDataset):
        def __getitem__(self, index: int) -> Any:
            return torch.tensor([float("nan"), 1.0]), 0

    for workers in (0, 2):
        contents(inspect(ByIndex([0] * 600), workers))
        with pytest.raises(SourceError, match="NaN or infinite"):
            contents(inspect(WithNaN([0] * 6), workers))


def test_second_reads_come_after_the_rest_of_their_batch() -> None:
    calls: list[int] = []
    read_batches(
        lambda index: calls.append(index),
        range(2 * BATCH),
        list,
        lambda batch: None,
        changed="",
        title="",
        num_workers=0,
        progress=False,
    )
    again = second_reads(2 * BATCH).tolist()
    first = [index for index in again if index < BATCH]
    assert calls == [*range(BATCH), *first, *range(BATCH, 2 * BATCH), *again[len(first) :]]
