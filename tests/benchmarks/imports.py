"""Seconds of importing the package, compared with importing torch and torchvision, in new processes.

    python tests/benchmarks/imports.py --out imports.json

Statements are timed in turn, so that other work on the machine affects all of them alike. Seconds are processor time
from the start of the interpreter to the end of the import. `import condensed_data` imports nothing heavy; "used"
imports the usual names, and with them torch; "all" does so after torch and torchvision. `loaded_beyond` lists the
packages that "all" loads in addition to those of torch and torchvision. Bytecode is written first, as by an
installation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

STATEMENTS = {
    "torch and torchvision": "import torch, torchvision",
    "package": "import condensed_data",
    "used": "from condensed_data import CondensedDataset, recipes",
    "all": "import torch, torchvision; from condensed_data import CondensedDataset, recipes",
}
_CLOCK = "; import time; print(time.process_time())"
_MODULES = "; import json, sys; print(json.dumps(sorted(sys.modules)))"


def import_seconds(statement: str, bytecode: str) -> float:
    """Processor seconds of a new interpreter for the statement, with bytecode in this folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return float(_output(statement + _CLOCK, environment | {"PYTHONPYCACHEPREFIX": bytecode}))


def modules(statement: str) -> set[str]:
    """Names of all modules that a new interpreter has loaded after the statement."""
    return set(json.loads(_output(statement + _MODULES)))


def _output(code: str, environment: dict[str, str] | None = None) -> str:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args(words)
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    with tempfile.TemporaryDirectory() as bytecode:
        for _ in range(arguments.repeats + 1):  # the first writes bytecode
            for name, statement in STATEMENTS.items():
                times[name].append(import_seconds(statement, bytecode))
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}
    base = medians["torch and torchvision"]
    outside = modules(STATEMENTS["all"]) - modules(STATEMENTS["torch and torchvision"])
    row = {
        "seconds": medians,
        "ratio": {name: spent / base for name, spent in medians.items()},
        "loaded_beyond": sorted({name.split(".")[0] for name in outside} - {"condensed_data"}),
    }
    arguments.out.write_text(json.dumps(row, indent=2) + "\n")
    print(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()
