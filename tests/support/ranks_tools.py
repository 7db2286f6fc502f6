"""Starts the processes of one build, and waits for their end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

Process = subprocess.Popen[str]
SECONDS = 120  # in which anything here ends, on a machine that does much else


def begin(count: int, folder: Path, *words: object, script: ModuleType) -> list[Process]:
    """The processes of one build."""
    environment = os.environ | {"CONDENSED_DATA_CHECKPOINT_SECONDS": "0", "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, (script.__file__, rank, count, folder, *words))],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def ended(processes: list[Process], seconds: int = SECONDS) -> list[tuple[int, str]]:
    """Their exit statuses and last words; none may hang."""
    try:
        said = [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, words) for process, words in zip(processes, said, strict=True)]
