"""Seconds of one iteration by number of classes, samples, sizes and processes, and the exponents of their growth.

    python tests/benchmarks/scaling.py --out scaling.jsonl --picture scaling.png
    python tests/benchmarks/scaling.py --out scaling.jsonl --picture scaling.png --recipes dm dsa --axes classes ipc

Starting at one point, each axis is varied alone. Every measurement is a row of `--out` and is not repeated, so that a
stopped run continues. Samples are random numbers, on which time does not depend. Runs are not compiled, because
compiling starts at some size and would bend the lines. After a warm-up, the median is reported. On a CPU, seconds are
processor time over the number of threads, without the time that ranks wait for each other: use `--clock wall` for
`ranks`, on an otherwise idle machine. Of several ranks (gloo, one process each) the slowest is reported. Exponents are
least-squares fits of logarithms: 1 is linear, 0 constant. `--device cuda` measures wall time with one rank.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from rows import Row, Rows
from table_parts import recipe_of, seconds
from torch.utils.data import TensorDataset

from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.process_group import ProcessGroup
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.engine.loop import CondensationRun
from condensed_data.networks import ConvNet
from condensed_data.training.context import Context

WARM = 2
AXES = {
    "classes": (5, 10, 20, 40, 80),
    "ipc": (5, 10, 20, 40, 80),
    "side": (12, 16, 24, 32, 48),
    "width": (16, 32, 64, 128),
    "source": (250, 1000, 4000, 16000),
    "ranks": (1, 2, 4),
}
NAMES = {
    "classes": "classes",
    "ipc": "samples per class",
    "side": "side of an image, pixels",
    "width": "width of the network",
    "source": "real samples per class",
    "ranks": "processes",
}


@dataclass(frozen=True)
class Point:
    """A point to measure.

    Attributes:
        recipe: name, with optional arguments in parentheses.
        classes, ipc, side, width, source, ranks: the axes; see `NAMES`.
        channels: channels of an image.
        batch: real samples per class and iteration.
        threads: threads of each process.
        clock: "processor" or "wall".
    """

    recipe: str
    classes: int = 10
    ipc: int = 10
    side: int = 16
    width: int = 32
    source: int = 1000
    ranks: int = 1
    channels: int = 1
    batch: int = 64
    threads: int = 1
    precision: str = "auto"
    device: str = "cpu"
    clock: str = "processor"
    repeats: int = 7


def iteration_seconds(point: Point, ranks: ProcessGroup) -> float:
    """Median seconds of an iteration on this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(point.threads)
    try:
        run = _run(point, ranks)
        now = time.perf_counter if point.clock == "wall" else seconds
        times = []
        for _ in range(WARM + point.repeats):
            started = now()
            float(run.step())  # reading the loss waits for an accelerator
            times.append(now() - started)
        return statistics.median(times[WARM:])
    finally:
        torch.set_num_threads(before)


def _run(point: Point, ranks: ProcessGroup) -> CondensationRun:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(point.classes).repeat_interleave(point.source)
    images = torch.rand(len(labels), point.channels, point.side, point.side, generator=draw)
    device = choose_device(point.device)
    real = RealData.read(inspect(TensorDataset(images, labels)), progress=False).to(device)
    recipe = recipe_of(point.recipe, point.ipc, {}, None)
    recipe = recipe.set(network=ConvNet(width=point.width), batch=point.batch)
    resolved = recipe.resolve(real.sample_shape, [""] * point.classes, samples=len(real))
    precision = choose_precision(point.precision, device)
    return CondensationRun(
        resolved, Context(real, point.ipc, RandomStreams(0), device, precision, compiles=False, ranks=ranks)
    )


def measure(point: Point) -> float:
    """Median seconds of an iteration, on the slowest of the point's processes."""
    if point.ranks == 1:
        return iteration_seconds(point, ProcessGroup())
    with tempfile.TemporaryDirectory() as folder:
        task = json.dumps([asdict(point), f"file://{folder}/rendezvous"])
        words = [sys.executable, __file__, "--process", task]
        ranks = range(point.ranks)
        processes = [subprocess.Popen([*words, str(rank)], stdout=subprocess.PIPE, text=True) for rank in ranks]
        outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"A process of {point} failed; see its message above.")
    return max(float(text) for text in outputs)


def _process(task: str, rank: int) -> None:
    """Run one of several ranks, and print the seconds of an iteration."""
    values, rendezvous = json.loads(task)
    point = Point(**values)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=point.ranks)
    print(iteration_seconds(point, ProcessGroup.here()))
    dist.destroy_process_group()


def exponent(values: Sequence[float], times: Sequence[float]) -> float:
    """b in times = a * values^b, by a least-squares fit of logarithms."""
    return float(np.polyfit(np.log(values), np.log(times), 1)[0])


def lines(rows: Rows) -> dict[tuple[str, str], list[Row]]:
    """The rows of every (axis, recipe), in increasing order."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows.all():
        found.setdefault((row["axis"], row["recipe"]), []).append(row)
    return {key: sorted(some, key=lambda row: row[row["axis"]]) for key, some in found.items()}


def exponents(rows: Rows) -> dict[tuple[str, str], float]:
    """The exponent of every (axis, recipe) with two measurements or more."""
    return {
        (axis, recipe): exponent([row[axis] for row in some], [row["seconds"] for row in some])
        for (axis, recipe), some in lines(rows).items()
        if len(some) > 1
    }


def draw(rows: Rows, path: Path) -> None:
    """Draw one log-log panel per axis, with the exponents in its legend."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured, fitted = lines(rows), exponents(rows)
    axes = [axis for axis in AXES if any(known == axis for known, _ in measured)]
    columns = min(3, len(axes))
    shape = (math.ceil(len(axes) / columns), columns)
    figure, panels = pyplot.subplots(*shape, figsize=(4 * shape[1], 3.4 * shape[0]), squeeze=False)
    for panel in panels.flat[len(axes) :]:
        panel.set_visible(False)
    for panel, axis in zip(panels.flat, axes, strict=False):
        for (known, recipe), some in measured.items():
            if known == axis:
                slope = fitted.get((axis, recipe))
                label = recipe if slope is None else f"{recipe}: exponent {slope:.2f}"
                panel.loglog([row[axis] for row in some], [row["seconds"] for row in some], "o-", label=label)
        values = sorted({row[axis] for (known, _), some in measured.items() if known == axis for row in some})
        panel.set_xticks(values, [f"{value:,}" for value in values])
        panel.minorticks_off()
        panel.set(xlabel=NAMES[axis], ylabel="seconds per iteration")
        panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(words: Sequence[str] | None = None) -> None:
    arguments = _parser().parse_args(words)
    if arguments.process:
        _process(arguments.process[0], int(arguments.process[1]))
        return
    if arguments.out is None:
        raise SystemExit("--out is missing. Give a file for the rows.")
    fields = (
        "classes",
        "ipc",
        "side",
        "width",
        "source",
        "channels",
        "batch",
        "threads",
        "precision",
        "device",
        "clock",
    )
    base = {name: getattr(arguments, name) for name in (*fields, "repeats")}
    rows = Rows(arguments.out)
    for recipe in arguments.recipes:
        _measure_axes(Point(recipe, **base), arguments.axes, _values(arguments.values), rows)
    for (axis, recipe), slope in exponents(rows).items():
        print(f"{recipe:10} {axis:8} exponent {slope:5.2f}")
    if arguments.picture:
        draw(rows, arguments.picture)


def _measure_axes(base: Point, axes: Sequence[str], values: Mapping[str, Sequence[int]], rows: Rows) -> None:
    for axis in axes:
        for value in values.get(axis, AXES[axis]):
            point = replace(base, **{axis: value})
            key = {"axis": axis, **asdict(point)}
            if not rows.find(**key):
                rows.add({**key, "seconds": measure(point), "torch": torch.__version__})


def _values(texts: Sequence[str]) -> dict[str, list[int]]:
    """{"ipc": [2, 4]} of ["ipc=2,4"]."""
    found = {}
    for text in texts:
        axis, _, numbers = text.partition("=")
        if axis not in AXES or not all(number.isdigit() for number in numbers.split(",")):
            raise SystemExit(f"--values {text!r}: write AXIS=NUMBER,NUMBER with one of {', '.join(AXES)}.")
        found[axis] = [int(number) for number in numbers.split(",")]
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file for the rows")
    parser.add_argument("--picture", type=Path, help="image file to draw")
    parser.add_argument("--recipes", nargs="+", default=["dm", "dsa"])
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=list(AXES))
    parser.add_argument(
        "--values",
        nargs="+",
        default=[],
        metavar="AXIS=NUMBER,NUMBER",
        help="points of an axis instead of the default ones",
    )
    for name in ("classes", "ipc", "side", "width", "source", "channels", "batch", "threads", "repeats"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Point, name))
    for name in ("precision", "device"):
        parser.add_argument(f"--{name}", default=getattr(Point, name))
    parser.add_argument("--clock", default=Point.clock, choices=("processor", "wall"))
    parser.add_argument("--process", nargs=2, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
