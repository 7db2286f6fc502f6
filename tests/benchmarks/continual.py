"""Condensed memories against Avalanche's own and against controls.

At equal bytes (`--protocol equal-bytes`, the default): Split-Fashion-MNIST, 5 x 2 classes.

    python tests/benchmarks/continual.py --data-root data --out rows.jsonl --competitors gdumb+fast14 er_ace --tune
    python tests/benchmarks/continual.py --data-root data --out rows.jsonl --competitors gdumb+fast14 er_ace
    python tests/benchmarks/continual.py --out rows.jsonl --report --plot continual.png

Every competitor takes `--steps` steps of the optimizer an experience, on batches of 64 of what its host trains on (the
memory alone; or current data, with as many of the memory). `--tune` runs the grid of learning rates, with and without
augmentation, on the held-out seed and on a sixth of the training samples that is not trained on; the best is taken for
the other seeds, which are tested on the test split. Without `--tune` first, `--lr` and `--augment` say what to take.

DM's protocol (`--protocol memory-only`), see `continual_memory_only.py`:

    python tests/benchmarks/continual.py --protocol memory-only --data cifar100 --data-root data --per-class 20 \
        --experiences 5 --competitors random herding dsa dm --out cifar100.jsonl --device cuda --seeds 0 1 2 3 4

One JSON row a run; runs that are in the file are left out, so that the same command goes on, and several processes may
share a file. `--report` prints the table, the accuracy after each experience, and the paired differences; `--plot`
draws them.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rows import Row, Rows

LRS = (0.02, 0.05, 0.1)
BUDGETS = (39_200, 156_800)
SEEDS = (1, 2, 3, 4, 5)


def main() -> None:
    """Run what is asked for and not in the file."""
    told = _arguments()
    if told.report or told.plot:
        _report(told)
        return
    torch.set_num_threads(1)
    # not a filter: Avalanche sets its own at every deprecated call
    warnings.showwarning = lambda *_arguments, **_more: None
    if told.protocol == "memory-only":
        from continual_memory_only import Protocol

        Protocol.of(told).run(Rows(told.out), told.competitors, told.seeds)
        return
    _check(told)
    _equal_bytes(Rows(told.out), told)


def _report(told: argparse.Namespace) -> None:
    from continual_picture import draw
    from continual_report import report

    rows = Rows(told.out).all()
    print(report(rows, told.ours))
    if told.plot:
        draw(rows, told.ours, told.plot)


def _check(told: argparse.Namespace) -> None:
    from continual_parts import known

    strange = [name for name in told.competitors if name not in known()]
    if strange or not told.competitors:
        raise SystemExit(f"--competitors {' '.join(strange) or 'is empty'}; known: {', '.join(known())}.")


def _equal_bytes(rows: Rows, told: argparse.Namespace) -> None:
    from continual_run import benchmark_of

    jobs = list(_jobs(rows, told))
    benchmark = benchmark_of(told.data_root, told.samples, told.tune) if jobs else None
    for key in jobs:
        with rows.claim(*key.items()) as mine:
            if mine and not rows.find(**key):
                _run(rows, benchmark, key)


def _run(rows: Rows, benchmark: Any, key: Row) -> None:
    from continual_run import measure

    names = ("seed", "lr", "augment", "steps", "final_only")
    made = measure(benchmark, key["competitor"], key["bytes"], **{name: key[name] for name in names})
    rows.add(key | made)
    print(_line(key | made), flush=True)


def _jobs(rows: Rows, told: argparse.Namespace) -> Iterator[Row]:
    """What is asked for and not in the file. A learning rate that was not tuned ends it before anything runs."""
    for budget in told.bytes:
        for seed in [told.held_out] if told.tune else told.seeds:
            for name in told.competitors:
                for lr, augment in _grid(told) if told.tune else [_tuned(rows, told, name, budget)]:
                    key = _key(told, name, budget) | {"seed": seed, "lr": lr, "augment": augment}
                    if not rows.find(**key):
                        yield key


def _key(told: argparse.Namespace, name: str, budget: int) -> Row:
    last = told.final_only and name.startswith("gdumb")
    tested = "validation" if told.tune else None
    return {
        "competitor": name,
        "bytes": budget,
        "steps": told.steps or 1000,
        "final_only": last,
        "split": tested,
    }


def _grid(told: argparse.Namespace) -> list[tuple[float, bool]]:
    return [(lr, augment) for augment in (True, False) for lr in told.lrs]


def _tuned(rows: Rows, told: argparse.Namespace, name: str, budget: int) -> tuple[float, bool]:
    """The best learning rate and augmentation of the held-out seed."""
    if told.lr is not None:
        return told.lr, bool(told.augment)
    steps = told.steps or 1000
    found = rows.find(competitor=name, bytes=budget, seed=told.held_out, steps=steps, split="validation")
    missing = set(_grid(told)) - {(row["lr"], row["augment"]) for row in found}
    if missing:
        raise SystemExit(
            f"{name} at {budget} bytes and {steps} steps was not tuned: the file lacks {len(missing)} of the grid's "
            f"{len(_grid(told))} runs. Run the same with --tune, or give --lr and --augment."
        )
    best = max(found, key=lambda row: row["curve"][-1])
    return best["lr"], best["augment"]


def _line(row: Row) -> str:
    how = f"lr {row['lr']}  {'augmented' if row['augment'] else 'plain':9}"
    return (
        f"{row['competitor']:18} {row['bytes']:>7} B  seed {row['seed']}  {how} {row['curve'][-1]:6.2f} %"
        f"{' of the held-out samples' * bool(row['split'])}  "
        f"{row['cpu_seconds']} s of a core, condensing at most {max(row['condensing_cpu_seconds'])} s an experience, "
        f"{row['samples']} samples, {row['memory_bytes']} B"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--protocol", choices=("equal-bytes", "memory-only"), default="equal-bytes")
    add("--data-root", type=Path, default=Path("data"))
    add("--out", type=Path, required=True)
    add(
        "--competitors",
        nargs="+",
        default=[],
        help='such as "gdumb+fast14" or "er_ace"; memory-only: recipes',
    )
    add("--seeds", nargs="+", type=int, default=list(SEEDS))
    add("--steps", type=int, help="of the optimizer, an experience; 1000, or memory-only instead of epochs")
    add("--samples", type=int, help="of each split of the source, to try things")
    add("--report", action="store_true", help="print the table of the rows in --out")
    add("--plot", type=Path, help="draw the rows in --out")
    add("--ours", help="the competitor that others are compared with; by default the best condensed memory")
    equal = parser.add_argument_group("equal-bytes")
    equal.add_argument("--bytes", nargs="+", type=int, default=list(BUDGETS))
    equal.add_argument("--tune", action="store_true", help="run the grid on the held-out seed")
    equal.add_argument("--held-out", type=int, default=0, help="seed of --tune")
    equal.add_argument("--lrs", nargs="+", type=float, default=list(LRS), help="learning rates of the grid")
    equal.add_argument("--lr", type=float, help="instead of the tuned one, with --augment")
    equal.add_argument("--augment", type=int, default=1, choices=(0, 1))
    equal.add_argument(
        "--final-only", action="store_true", help="GDumb: train after the last experience alone"
    )
    only = parser.add_argument_group("memory-only")
    only.add_argument("--data", default="cifar100", help="a source of the command line")
    only.add_argument("--per-class", type=int, default=20, help="images that the memory keeps of a class")
    only.add_argument("--experiences", type=int, default=5, help="the classes come in so many parts")
    only.add_argument("--iterations", type=int, help="of recipes that learn; by default as published")
    only.add_argument("--network", default="convnet")
    only.add_argument("--runs", type=int, default=3, help="networks that are trained on each memory")
    only.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
