"""Programs on two ranks: what one does alone waits for nobody; a rank that fails ends the others with its reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ranks_scripts
from ranks_tools import begin, ended


def run(folder: Path, name: str) -> list[tuple[int, str]]:
    return ended(begin(2, folder, name, script=ranks_scripts))


def test_what_rank_0_does_alone_waits_for_nobody(tmp_path: Path) -> None:
    found = run(tmp_path, "alone")
    assert [code for code, _ in found] == [0, 0], found
    assert (tmp_path / "saved" / "condensed.json").exists()
    assert "Warning" not in found[0][1] + found[1][1]


def test_ranks_that_differ_are_refused_and_ddp_works_on_what_all_condense(tmp_path: Path) -> None:
    found = run(tmp_path, "together")
    assert [code for code, _ in found] == [0, 0], found
    assert "Rank 0 waits for the other ranks of the process group to begin this build" in found[0][1]


def test_the_reason_of_a_rank_that_fails_reaches_the_others(tmp_path: Path) -> None:
    found = run(tmp_path, "broken")
    assert [code for code, _ in found] == [1, 1], found
    assert "Rank 1 stopped: source[20] cannot be read: OSError: the file of sample 20 is missing" in found[0][1]


def test_an_error_of_all_ranks_is_printed_once(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "condensed_data", "build", "digits", "--recipe", "nope", "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.count("condensed-data: error: ") == 1
