"""Time of one DM sweep on Fashion-MNIST against a naive loop over classes, in one run.

    python tests/benchmarks/sweep.py --data-root DATA --out sweep.json

The naive loop is what the equation says, in fp32: for every class, its real and its synthetic samples with the same
augmentation go through the network, the real side without gradients, and the squared distance of the means is added;
one backward, one step. Both sides use the same threads, are warmed, and are timed alternately; the median counts.
`naive_seconds / seconds` is the ratio. The matrix rate is that of a square product in the same precision.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from condensed_data import recipes
from condensed_data.device import choose_precision
from condensed_data.networks import build
from condensed_data.parts import Batch, Context
from condensed_data.run import Run
from condensed_data.sources.real import Real
from condensed_data.sources.source import inspect
from condensed_data.streams import Streams

BATCH, IPC = 256, 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    precision = choose_precision(arguments.precision, torch.device("cpu"))
    run = _run(arguments.data_root, precision)
    naive = _naive_sweep(_run(arguments.data_root, "fp32"))
    ours = _times(lambda: float(run.step()), arguments.repeats, naive)
    flops = _flops(run)
    rate = _matrix_rate(torch.bfloat16 if precision == "bf16" else torch.float32)
    row = {
        "threads": arguments.threads,
        "precision": precision,
        "seconds": ours[0],
        "naive_seconds": ours[1],
        "ratio": ours[1] / ours[0],
        "flops_per_sweep": flops,
        "flops_per_second": flops / ours[0],
        "matrix_flops_per_second": rate,
        "fraction_of_matrix_rate": flops / ours[0] / rate,
        "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "torch": torch.__version__,
    }
    arguments.out.write_text(json.dumps(row, indent=2) + "\n")
    print(json.dumps(row, indent=2))


def _run(root: str, precision: str) -> Run:
    source = inspect(FashionMNIST(root, train=True, transform=ToTensor()))
    real = Real.read(source, progress=False)
    recipe = recipes.dm(ipc=IPC, batch=BATCH).resolve(real.sample_shape, real.class_names)
    return Run(recipe, Context(real, IPC, Streams(0), torch.device("cpu"), precision))


def _naive_sweep(run: Run) -> Callable[[], None]:
    """A sweep as a loop over classes, on data and draws of the same run."""
    context, term = run.context, run.recipe.terms[0]
    real, (images,) = context.real, run.synthesis.learned.values()
    optimizer = torch.optim.SGD([images], lr=1.0, momentum=0.5)
    sweeps = iter(range(10**9))

    def augmented(rows: Tensor, label: int, sweep: int) -> Tensor:
        applied = term.augment.draw(context.streams, sweep, [label], real.sample_shape)
        return applied(Batch(rows, torch.full((len(rows),), label), (len(rows),)))

    def sweep() -> None:
        number = next(sweeps)
        network = build(term.pool.network, real.num_classes, real.sample_shape, number).requires_grad_(False)
        loss = torch.zeros(())
        for label in range(real.num_classes):
            members = real.members[label]
            chosen = members[
                torch.randperm(len(members), generator=torch.Generator().manual_seed(number))[:BATCH]
            ]
            with torch.no_grad():
                target = network.embed(augmented(real[chosen], label, number)).mean(0)
            mine = network.embed(augmented(images[run.synthesis.labels == label], label, number)).mean(0)
            loss = loss + (target - mine).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return sweep


def _times(ours: Callable[[], object], repeats: int, naive: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of both, timed alternately after two warming calls of each."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(repeats + 2):
        for times, call in zip(found, (ours, naive), strict=True):
            started = time.perf_counter()
            call()
            if number >= 2:
                times.append(time.perf_counter() - started)
    return statistics.median(found[0]), statistics.median(found[1])


def _flops(run: Run) -> float:
    """Floating-point operations of a sweep: forward of the real side, forward and input gradient of the other."""
    network = build(
        run.recipe.terms[0].pool.network, run.context.real.num_classes, run.context.real.sample_shape, 0
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(run.context.real[torch.tensor([0])])
    rows = run.context.real.num_classes
    return counter.get_total_flops() * rows * (BATCH + 2 * IPC)


def _matrix_rate(dtype: torch.dtype) -> float:
    a = torch.randn(2048, 2048).to(dtype)
    times = []
    for _ in range(12):
        started = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - started)
    return 2 * 2048**3 / statistics.median(times[2:])


if __name__ == "__main__":
    main()
