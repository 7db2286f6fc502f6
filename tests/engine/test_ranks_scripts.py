"""Programs on two ranks: what one does alone waits for nobody; a rank that fails ends the others with its reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
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


@pytest.mark.parametrize("words", ["digits --recipe nope", "ranks_sources:broken_on_rank_1 --ipc 1 --no-cache"])
def test_an_error_is_printed_once(words: str, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "condensed_data", "build", *words.split()]
    support = str(Path(ranks_scripts.__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([support, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert done.stderr.count("condensed-data: error: ") == 1
    assert ("Rank 1 stopped: " in done.stderr) == ("rank_1" in words)
