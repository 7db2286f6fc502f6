"""Condense a generated source that does not fit in memory, and report the peak of anonymous memory.

    python tests/benchmarks/large_source.py --folder DIR --gigabytes 12 --memory 500MB --out large.json

DIR needs twice the size: for the source, and for the unnamed file that stores its samples while condensing.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from condensed_data import CondensedDataset, recipes
from condensed_data.core.sizes import format_bytes, parse_bytes
from condensed_data.networks import ConvNet

SHAPE, CLASSES = (3, 64, 64), 20


class Generated(Dataset[Any]):
    """Samples of a memory-mapped file: noise around one random prototype per class."""

    def __init__(self, path: Path, count: int) -> None:
        self.samples = np.memmap(path, np.float32, "r", shape=(count, *SHAPE))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(np.array(self.samples[index])), index % CLASSES


class MemoryMonitor(threading.Thread):
    """Samples the process's anonymous resident memory ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.start()

    def run(self) -> None:
        while True:
            fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            self.peak = max(self.peak, int(fields["RssAnon"].split()[0]) * 1024)
            time.sleep(0.1)


def generate(path: Path, count: int) -> None:
    """Write the source, a thousand samples at a time."""
    draw = np.random.default_rng(0)
    prototypes = draw.standard_normal((CLASSES, *SHAPE), dtype=np.float32)
    with path.open("wb") as file:
        for start in range(0, count, 1000):
            labels = np.arange(start, min(start + 1000, count)) % CLASSES
            file.write((prototypes[labels] + draw.standard_normal((len(labels), *SHAPE), dtype=np.float32)).tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder for the source and the cache")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--gigabytes", type=float, default=12, help="size of the source")
    parser.add_argument("--memory", default="500MB", help="limit for samples in memory")
    parser.add_argument("--iterations", type=int, default=5)
    arguments = parser.parse_args()
    count = int(arguments.gigabytes * 1e9 / (4 * np.prod(SHAPE)))
    path = arguments.folder / "source.bin"
    generate(path, count)
    monitor, started = MemoryMonitor(), time.perf_counter()
    recipe = recipes.dm(ipc=1, iterations=arguments.iterations, batch=64, network=ConvNet(width=32, depth=3))
    condensed = CondensedDataset(
        Generated(path, count), recipe, cache=arguments.folder / "cache", memory=parse_bytes(arguments.memory)
    )
    row = {
        "source_bytes": path.stat().st_size,
        "samples": count,
        "seconds": time.perf_counter() - started,
        "peak_anonymous_bytes": monitor.peak,
        "finite": bool(torch.isfinite(condensed.images).all()),
    }
    path.unlink()
    arguments.out.write_text(json.dumps(row, indent=2) + "\n")
    print(json.dumps(row, indent=2), format_bytes(monitor.peak))


if __name__ == "__main__":
    main()
