"""More processes than classes: those without a share help to look at real samples, and the bits stay those of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import ranks_teams
import torch
import torch.distributed as dist
from oracles_objectives import lent
from torch import Tensor

from condensed_data.callbacks import Callback, Progress
from condensed_data.ranks import Ranks, group
from condensed_data.shares import helped
from condensed_data.teams import PIECES, Team

SECONDS = 200  # in which anything here ends, on a machine that does much else
Bits = dict[str, dict[str, Tensor]]


def ended(folder: Path, *counts: int) -> list[tuple[int, str]]:
    """Exit statuses and last words of the processes; none may hang."""
    environment = os.environ | {"CONDENSED_DATA_CHECKPOINT_SECONDS": "0", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(ranks_teams.__file__)]
    processes = [
        subprocess.Popen(
            [*words, *map(str, (rank, folder, *counts))], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(max(counts))
    ]
    try:
        said = [process.communicate(timeout=SECONDS)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit by bit, apart from what was counted."""
    names = one.keys() - {"rows", "tried"}
    return all(torch.equal(one[name].view(torch.int32), other[name].view(torch.int32)) for name in names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four and then three processes of two classes left behind; at last the third one dies."""
    folder = tmp_path_factory.mktemp("teams")
    said = ended(folder, 4, 3)
    assert [code for code, _ in said] == [1, 1, -signal.SIGKILL, 0], said
    assert all("LostRankError" in text and "last checkpoint" in text for _, text in said[:2]), said
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[int, list[Bits]]:
    """What the processes end at, by their number; one process under 1."""
    several = {
        count: [torch.load(folder / f"{count}-{rank}.pt", weights_only=True) for rank in range(count)]
        for count in (3, 4)
    }
    return several | {1: [{name: ranks_teams.bits(name, Ranks()) for name in ranks_teams.CASES}]}


@pytest.mark.parametrize("name", ranks_teams.CASES)
def test_helpers_do_not_change_the_bits(name: str, found: dict[int, list[Bits]]) -> None:
    (one,) = found[1]
    for count in (3, 4):
        assert all(equal(one[name], several[name]) for several in found[count]), count


def test_helpers_take_rows_from_owners(found: dict[int, list[Bits]]) -> None:
    def rows(name: str, count: int) -> list[int]:
        return [int(several[name]["rows"]) // ranks_teams.SWEEPS for several in found[count]]

    assert rows("dm", 1) == [2 * (280 + 2)]
    assert rows("dm", 3) == [64 + 64 + 24 + 2, 280 + 2, 64 + 64 + 2]  # the last one helps the first
    assert rows("dm", 4) == [64 + 64 + 24 + 2] * 2 + [64 + 64 + 2] * 2
    assert rows("dm as on an accelerator", 4) == [70 + 70 + 2] * 4  # PIECES for two shares
    assert rows("dm in one block", 3) == [192 + 4, 192 + 4, 176 + 4]  # 560 rows in nine pieces
    for name in ("dsa", "idc", "idm"):  # networks of idm and idc also learn, on all processes alike
        alone, first, second, helper = *rows(name, 1), *rows(name, 3)
        assert helper < first < second < alone, name


def test_after_a_helper_died_one_process_goes_on(folder: Path, tmp_path: Path) -> None:
    swept = _Counts()
    resumed = ranks_teams.build(folder, [swept])
    assert swept.sweeps == [4, 5, 6]
    assert torch.equal(resumed.images, ranks_teams.build(tmp_path).images)


class _Counts(Callback):
    def __init__(self) -> None:
        self.sweeps: list[int] = []

    def on_sweep(self, progress: Progress) -> None:
        self.sweeps.append(progress.sweep)


def test_where_memory_ends_on_one_all_of_the_team_try_again(folder: Path) -> None:
    ranks = [torch.load(folder / f"memory-{rank}.pt", weights_only=True) for rank in range(3)]
    whole = ranks_teams.bits("dm in one block", Ranks())
    for failing in ("helper", "owner"):
        for several in ranks:
            assert several[failing]["tried"].tolist() == [1, 2, 2, 2], failing
            assert equal(ranks[0][failing], several[failing])
            torch.testing.assert_close(several[failing]["losses"], whole["losses"])


def test_those_without_a_share_help_where_most_is_to_do() -> None:
    assert helped([0, 1], [5, 5], 5) == [(0, 2, 4), (1, 3)]
    assert helped([0, 1, 2], [1, 0, 4], 7) == [(0, 6), (1,), (2, 3, 4, 5)]
    assert helped([0, 0], [1, 1], 3) == [(0, 1, 2), (0, 1, 2)]
    assert helped([0, 1], [0, 0], 4) == [(0,), (1,)]


def test_pieces_are_neither_small_nor_larger_than_a_network_takes() -> None:
    assert Team().rows(2560, 4096) == 2560  # all at once
    assert Team().rows(2560, 64) == 64
    assert Team(pieces=PIECES).rows(2560, 4096) == 320
    assert Team(pieces=PIECES).rows(256, 4096) == 64
    assert Team(pieces=PIECES).rows(10, 4) == 4


def test_alone_every_piece_is_computed_in_turn() -> None:
    net = lent(ranks_teams.ConvNet(width=4, depth=1))
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert [len(piece) for (piece,) in net.split(x)] == [2, 2, 1]
    with torch.no_grad(), ranks_teams.counted(channels=2) as rows:
        net.embed(x)
    assert rows == [2, 2, 1]


def test_no_group_of_a_team_outlives_the_process_group(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        Team((0,)).meet(Ranks())
        left = weakref.ref(group((0,)))
        assert group((0,)) is left()
    finally:
        dist.destroy_process_group()
    assert left() is None
