"""Several processes of one build: the bits of one, whichever dies, stops or has other arguments."""

from __future__ import annotations

import signal
import time
import weakref
from collections.abc import Iterable
from pathlib import Path

import pytest
import ranks_bits
import ranks_worker
import torch
import torch.distributed as dist
from exam import GROUPED, LEARNING, start
from ranks_tools import SECONDS, begin, ended

from condensed_data.core.process_group import ProcessGroup
from condensed_data.engine.distributed.gradient_exchange import row_groups
from condensed_data.engine.distributed.work_plan import (
    WorkPlan,
    WorkUnit,
    assign_owners,
    chunks,
    partition,
    step_contents,
)


def alone(folder: Path, iterations: int) -> torch.Tensor:
    return ranks_worker.build(folder / "alone", iterations).images


SOME = (
    "dm",
    "cafe",
    "idc",
    "haba on dm",
)  # all groups at once, two ways to couple them, and one after another


def same_bits(
    folder: Path, source: torch.utils.data.TensorDataset, names: Iterable[str], counts: tuple[int, ...]
) -> None:
    torch.save(source.tensors, folder / "source.pt")
    one = {name: ranks_bits.results(name, source, ProcessGroup()) for name in names}
    for count in counts:
        found = ended(begin(count, folder, *names, script=ranks_bits), 10 * SECONDS)
        assert [code for code, _ in found] == [0] * count, found
        for rank in range(count):
            several = torch.load(folder / f"{count}-{rank}.pt", weights_only=True)
            for name, tensors in one.items():
                for key, tensor in tensors.items():
                    same = torch.equal(several[name][key].view(torch.int32), tensor.view(torch.int32))
                    assert same, (name, key, count, rank)


def test_two_ranks_give_the_bits_of_one(tmp_path: Path, tiny_images: torch.utils.data.TensorDataset) -> None:
    same_bits(tmp_path, tiny_images, SOME, (2,))


def test_nothing_outlives_the_process_group(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        control = ProcessGroup().control
        assert ProcessGroup().control is control
        left = weakref.ref(control)
        del control
    finally:
        dist.destroy_process_group()
    assert left() is None


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_recipe_gives_the_bits_of_one_process(
    tmp_path: Path, tiny_images: torch.utils.data.TensorDataset
) -> None:
    same_bits(tmp_path, tiny_images, tuple(LEARNING | GROUPED), (2, 3, 5))


def test_a_rank_that_dies_ends_the_others_and_one_process_goes_on(tmp_path: Path) -> None:
    found = ended(begin(2, tmp_path, 12, "dies", script=ranks_worker))
    assert found[0][0] == -signal.SIGKILL
    assert found[1][0] == 1
    assert "LostRankError" in found[1][1]
    assert "to continue from the last checkpoint" in found[1][1]
    seen: list[int] = []
    resumed = ranks_worker.build(tmp_path, 12, [_Counts(seen)])
    assert seen[0] > 1
    assert torch.equal(resumed.images, alone(tmp_path, 12))


class _Counts(ranks_worker.Callback):
    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def on_iteration(self, progress: ranks_worker.Progress) -> None:
        self.seen.append(progress.iteration)


def test_asked_to_stop_all_stop_and_three_go_on(tmp_path: Path) -> None:
    processes = begin(2, tmp_path, 60, "stopped", script=ranks_worker)
    waiting = time.monotonic() + SECONDS
    while not (tmp_path / "iteration").exists() and time.monotonic() < waiting:
        time.sleep(0.05)
    for process in processes:
        process.send_signal(signal.SIGINT)
    found = ended(processes)
    assert [code for code, _ in found] == [1, 1]
    assert all("KeyboardInterrupt: Stopped after iteration" in words for _, words in found)
    again = ended(begin(3, tmp_path, 60, "whole", script=ranks_worker))
    assert [code for code, _ in again] == [0, 0, 0], again
    images = [torch.load(tmp_path / f"whole-{rank}.pt", weights_only=True) for rank in range(3)]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])
    assert torch.equal(images[0], alone(tmp_path, 60))


def test_ranks_with_different_arguments_are_refused(tmp_path: Path) -> None:
    for code, words in ended(begin(2, tmp_path, 2, "other", script=ranks_worker)):
        assert code == 1
        assert "Rank 1 was started with different arguments than rank 0" in words


@pytest.mark.parametrize("name", LEARNING | GROUPED)
def test_blocks_give_what_all_at_once_gives(name: str, tiny_images: torch.utils.data.TensorDataset) -> None:
    recipe = (LEARNING | GROUPED)[name]()
    groups = [index % 2 for index in range(len(tiny_images))] if name in GROUPED else None
    recipe = recipe.set(ipc=4) if groups else recipe
    whole, blocks = start(tiny_images, recipe, groups), start(tiny_images, recipe.set(num_blocks=64), groups)
    whole.step()
    blocks.step()
    for key, tensor in whole.synthetic_data.learned.items():
        torch.testing.assert_close(blocks.synthetic_data.learned[key], tensor, rtol=1e-4, atol=1e-5)
        assert row_groups(blocks.synthetic_data, key) is None or key not in blocks.synthetic_data.shared_across_groups


def test_work_units_do_not_depend_on_ranks_and_are_spread_evenly() -> None:
    units = partition(range(10), 4, [0, 1], [2])
    assert [unit.groups for unit in units] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9,), tuple(range(10))]
    assert units[-1] == WorkUnit(tuple(range(10)), (2,), False)
    assert assign_owners(units, 1) == [0] * 5
    assert assign_owners(units, 3, main_terms=[2])[-1] == 0
    assert partition(range(3), 64, [], [0, 1]) == [WorkUnit((0, 1, 2), (term,), False) for term in (0, 1)]
    assert [list(block) for block in chunks(range(5), 64)] == [[0], [1], [2], [3], [4]]


def test_all_steps_of_a_group_belong_to_one_rank() -> None:
    contents = step_contents("class and term", 5, 2)
    assert contents == [([group], (term,)) for term in range(2) for group in range(5)]
    steps = [[WorkUnit(tuple(groups), terms, False)] for groups, terms in contents]
    plan = WorkPlan(steps, independent=True, main_terms=(), rank=1, world_size=2)
    assert [unit for ((unit, _),) in plan.steps] == [unit for (unit,) in steps]
    owners = [{owner for ((unit, owner),) in plan.steps if unit.groups == (group,)} for group in range(5)]
    assert [len(found) for found in owners] == [1] * 5
    assert plan.own_groups == [group for group in range(5) if owners[group] == {1}]
    assert len(plan.own_groups) == 2
