"""Condensed memories against Avalanche's own and against controls, at equal bytes: Split-Fashion-MNIST, 5 x 2 classes.

    python tests/benchmarks/continual.py --data-root data --out continual.jsonl --competitors gdumb+class gdumb+fast14

One JSON row a run; runs that are in the file are left out, so that the same command goes on, and several processes may
share a file. Hosts that train on the memory alone take `--steps` steps an experience, whatever the memory holds; the
others one epoch of current data. The learning rate and augmentation of each competitor are chosen on `--held-out`
seed by `--tune`, which no table has. `--report` prints the table and the paired differences.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from continual_parts import BATCH, Images, Network, memory_of, strategy
from rows import Row, Rows
from torch import nn
from torchvision.datasets import FashionMNIST

GRID = ((0.02, True), (0.05, True), (0.02, False), (0.05, False))
BUDGETS = (39_200, 156_800)
SEEDS = (1, 2, 3, 4, 5)


def main() -> None:
    """Run what is asked for and not in the file."""
    told = _arguments()
    rows = Rows(told.out)
    if told.report:
        from continual_report import report

        print(report(rows.all(), told.held_out))
        return
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    benchmark = _benchmark(told.data_root, told.samples)
    for budget in told.bytes:
        if told.tune:
            for name in told.competitors:
                for lr, augment in GRID:
                    _run(rows, benchmark, told, name, budget, told.held_out, lr, augment)
            continue
        for seed in told.seeds:
            for name in told.competitors:
                lr, augment = _tuned(rows, told, name, budget)
                _run(rows, benchmark, told, name, budget, seed, lr, augment)


def _tuned(rows: Rows, told: argparse.Namespace, name: str, budget: int) -> tuple[float, bool]:
    """The best learning rate and augmentation of the held-out seed."""
    if told.lr is not None:
        return told.lr, bool(told.augment)
    found = rows.find(competitor=name, bytes=budget, seed=told.held_out, steps=told.steps)
    if not found:
        raise SystemExit(f"{name} at {budget} bytes was not tuned: run --tune, or give --lr and --augment.")
    best = max(found, key=lambda row: row["curve"][-1])
    return best["lr"], best["augment"]


def _run(
    rows: Rows,
    benchmark: Any,
    told: argparse.Namespace,
    name: str,
    budget: int,
    seed: int,
    lr: float,
    augment: bool,
) -> None:
    key = {"competitor": name, "bytes": budget, "seed": seed, "lr": lr, "augment": augment}
    key |= {"steps": told.steps, "final_only": told.final_only and name.startswith("gdumb")}
    with rows.claim(*key.items()) as mine:
        if mine and not rows.find(**key):
            row = key | measure(benchmark, name, budget, seed, lr, augment, told.steps, key["final_only"])
            rows.add(row)
            print(_line(row), flush=True)


def measure(
    benchmark: Any, name: str, budget: int, seed: int, lr: float, augment: bool, steps: int, final_only: bool
) -> Row:
    """One run: accuracy on all classes seen after each experience, seconds and bytes.

    Args:
        final_only: of a host that begins anew with every experience, train after the last one alone: the same last
            accuracy in a fraction of the time.
    """
    torch.manual_seed(seed)
    model = Network(seed, augment)
    common = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": BATCH,
        "eval_mb_size": 500,
        "evaluator": None,
    }
    found = strategy(name, budget, seed, 1, common)
    memory = memory_of(found)
    curve, condensing, started = [], [], time.perf_counter()
    experiences = list(benchmark.train_stream)
    for number, experience in enumerate(experiences):
        last = number == len(experiences) - 1
        if final_only and not last:
            memory.update(SimpleNamespace(experience=experience))
        else:
            found.train_epochs = _epochs(name, memory, steps, number)
            found.train(experience)
            curve.append(_accuracy(found.model, benchmark, number))
        condensing.append(getattr(memory, "condensing_seconds", 0.0))
    return {
        "curve": curve,
        "seconds": round(time.perf_counter() - started, 1),
        "condensing_seconds": [round(seconds, 1) for seconds in condensing],
        "memory_bytes": getattr(memory, "memory_bytes", None),
        "samples": None if memory is None else len(memory.buffer),
        "threads": torch.get_num_threads(),
    }


def _epochs(name: str, memory: Any, steps: int, number: int) -> int:
    """Epochs of the memory that make so many steps, by the samples that it has at the end; else one of current data."""
    if not name.startswith("gdumb"):
        return 1
    return max(1, round(steps / -(-memory.max_size // BATCH)))


@torch.no_grad()
def _accuracy(model: nn.Module, benchmark: Any, number: int) -> float:
    """On the test samples of all classes seen, in percent."""
    model.eval()
    right, total = 0, 0
    for experience in list(benchmark.test_stream)[: number + 1]:
        samples, labels = benchmark.tested[experience.current_experience]
        for x, y in zip(samples.split(500), labels.split(500), strict=True):
            right += int((model(x).argmax(1) == y).sum())
        total += len(labels)
    return round(100 * right / total, 2)


def _benchmark(root: Path, samples: int | None) -> Any:
    from avalanche.benchmarks import nc_benchmark

    sets = []
    for train in (True, False):
        found = FashionMNIST(str(root), train=train)
        pixels, labels = found.data[:samples], found.targets[:samples]
        sets.append(Images(pixels, labels))
    benchmark = nc_benchmark(
        *sets, n_experiences=5, task_labels=False, shuffle=False, fixed_class_order=list(range(10))
    )
    benchmark.tested = [_tensors(experience.dataset) for experience in benchmark.test_stream]
    return benchmark


def _tensors(dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    items = [dataset[index] for index in range(len(dataset))]
    return torch.stack([item[0] for item in items]), torch.tensor([item[1] for item in items])


def _line(row: Row) -> str:
    return (
        f"{row['competitor']:16} {row['bytes']:>7} B  seed {row['seed']}  lr {row['lr']}  "
        f"{'augmented' if row['augment'] else 'plain':9} {row['curve'][-1]:6.2f} %  {row['seconds']} s, "
        f"condensing at most {max(row['condensing_seconds'])} s, {row['samples']} samples, {row['memory_bytes']} B"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--competitors", nargs="+", default=[], help='such as "gdumb+fast14" or "er_ace"')
    parser.add_argument("--bytes", nargs="+", type=int, default=list(BUDGETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--held-out", type=int, default=0, help="seed of --tune")
    parser.add_argument("--tune", action="store_true", help="run the grid of learning rates and augmentation")
    parser.add_argument("--lr", type=float, help="instead of the tuned one, with --augment")
    parser.add_argument("--augment", type=int, default=1, choices=(0, 1))
    parser.add_argument(
        "--steps", type=int, default=1000, help="of a network that is trained on the memory alone"
    )
    parser.add_argument(
        "--final-only", action="store_true", help="GDumb: train after the last experience alone"
    )
    parser.add_argument("--samples", type=int, help="of the source, to try things")
    parser.add_argument("--report", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
