"""Compare condensed memories with Avalanche's own memories and with controls.

At equal bytes (`--protocol equal-bytes`, the default): Split-Fashion-MNIST, 5 x 2 classes.

    python tests/benchmarks/continual.py --data-root data --out rows.jsonl --competitors gdumb+fast14 er_ace --tune
    python tests/benchmarks/continual.py --data-root data --out rows.jsonl --competitors gdumb+fast14 er_ace
    python tests/benchmarks/continual.py --out rows.jsonl --report --plot continual.png

Every competitor takes `--steps` optimizer steps per experience, on batches of 64 samples of what its strategy trains
on (the memory only; or current data, with as many samples of the memory). `--tune` runs the grid of learning rates,
with and without augmentation, on the held-out seed, tested on a sixth of the training samples that is left out of
training; the other seeds use the best setting and are tested on the test split. Without a run with `--tune`, give
`--lr` and `--augment`.

DM's protocol (`--protocol memory-only`), see `continual_memory_only.py`:

    python tests/benchmarks/continual.py --protocol memory-only --data cifar100 --data-root data --per-class 20 \
        --experiences 5 --competitors random herding dsa dm --out cifar100.jsonl --device cuda --seeds 0 1 2 3 4

One JSON row per run; runs that the file holds are skipped, so that the same command continues, and several processes
may write to one file. `--report` prints the table, the accuracy after each experience, and the paired differences;
`--plot` draws them.
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
    """Run what is requested and not in the file."""
    args = _arguments()
    if args.report or args.plot:
        _report(args)
        return
    torch.set_num_threads(1)
    # not a filter, because Avalanche sets its own at every deprecated call
    warnings.showwarning = lambda *_arguments, **_more: None
    if args.protocol == "memory-only":
        from continual_memory_only import Protocol

        Protocol.from_arguments(args).run(Rows(args.out), args.competitors, args.seeds)
        return
    _check(args)
    _equal_bytes(Rows(args.out), args)


def _report(args: argparse.Namespace) -> None:
    from continual_picture import draw
    from continual_report import report

    rows = Rows(args.out).all()
    print(report(rows, args.ours))
    if args.plot:
        draw(rows, args.ours, args.plot)


def _check(args: argparse.Namespace) -> None:
    from continual_parts import known

    unknown = [name for name in args.competitors if name not in known()]
    if unknown or not args.competitors:
        raise SystemExit(f"--competitors {' '.join(unknown) or 'is empty'}; known: {', '.join(known())}.")


def _equal_bytes(rows: Rows, args: argparse.Namespace) -> None:
    from continual_run import benchmark_of

    jobs = list(_jobs(rows, args))
    benchmark = benchmark_of(args.data_root, args.samples, args.tune) if jobs else None
    for key in jobs:
        with rows.claim(*key.items()) as claimed:
            if claimed and not rows.find(**key):
                _run(rows, benchmark, key)


def _run(rows: Rows, benchmark: Any, key: Row) -> None:
    from continual_run import measure

    names = ("seed", "lr", "augment", "steps", "final_only")
    result = measure(benchmark, key["competitor"], key["bytes"], **{name: key[name] for name in names})
    rows.add(key | result)
    print(_line(key | result), flush=True)


def _jobs(rows: Rows, args: argparse.Namespace) -> Iterator[Row]:
    """Runs that are requested and not in the file; exits before the first one if a learning rate was not tuned."""
    for budget in args.bytes:
        for seed in [args.held_out] if args.tune else args.seeds:
            for name in args.competitors:
                for lr, augment in _grid(args) if args.tune else [_tuned(rows, args, name, budget)]:
                    key = _key(args, name, budget) | {"seed": seed, "lr": lr, "augment": augment}
                    if not rows.find(**key):
                        yield key


def _key(args: argparse.Namespace, name: str, budget: int) -> Row:
    last = args.final_only and name.startswith("gdumb")
    tested = "validation" if args.tune else None
    return {
        "competitor": name,
        "bytes": budget,
        "steps": args.steps or 1000,
        "final_only": last,
        "split": tested,
    }


def _grid(args: argparse.Namespace) -> list[tuple[float, bool]]:
    return [(lr, augment) for augment in (True, False) for lr in args.lrs]


def _tuned(rows: Rows, args: argparse.Namespace, name: str, budget: int) -> tuple[float, bool]:
    """The best learning rate and augmentation of the held-out seed."""
    if args.lr is not None:
        return args.lr, bool(args.augment)
    steps = args.steps or 1000
    found = rows.find(competitor=name, bytes=budget, seed=args.held_out, steps=steps, split="validation")
    missing = set(_grid(args)) - {(row["lr"], row["augment"]) for row in found}
    if missing:
        raise SystemExit(
            f"{name} at {budget} bytes and {steps} steps was not tuned: the file lacks {len(missing)} of the grid's "
            f"{len(_grid(args))} runs. Run the same with --tune, or give --lr and --augment."
        )
    best = max(found, key=lambda row: row["curve"][-1])
    return best["lr"], best["augment"]


def _line(row: Row) -> str:
    setting = f"lr {row['lr']}  {'augmented' if row['augment'] else 'plain':9}"
    return (
        f"{row['competitor']:18} {row['bytes']:>7} B  seed {row['seed']}  {setting} {row['curve'][-1]:6.2f} %"
        f"{' of the held-out samples' * bool(row['split'])}  "
        f"{row['cpu_seconds']} s of one core, condensing at most {max(row['condensing_cpu_seconds'])} s per "
        f"experience, {row['samples']} samples, {row['memory_bytes']} B"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--protocol", choices=("equal-bytes", "memory-only"), default="equal-bytes")
    add("--data-root", type=Path, default=Path("data"))
    add("--out", type=Path, required=True)
    add(
        "--competitors",
        nargs="+",
        default=[],
        help='names such as "gdumb+fast14" or "er_ace"; memory-only: recipes',
    )
    add("--seeds", nargs="+", type=int, default=list(SEEDS))
    add("--steps", type=int, help="optimizer steps per experience; 1000, or memory-only instead of epochs")
    add("--samples", type=int, help="use only the first samples of each split")
    add("--report", action="store_true", help="print a table of the rows in --out")
    add("--plot", type=Path, help="draw the rows in --out")
    add("--ours", help="competitor to compare the others with; by default the best condensed memory")
    equal = parser.add_argument_group("equal-bytes")
    equal.add_argument("--bytes", nargs="+", type=int, default=list(BUDGETS))
    equal.add_argument("--tune", action="store_true", help="run the grid on the held-out seed")
    equal.add_argument("--held-out", type=int, default=0, help="seed for --tune")
    equal.add_argument("--lrs", nargs="+", type=float, default=list(LRS), help="learning rates of the grid")
    equal.add_argument("--lr", type=float, help="learning rate instead of the tuned one; see --augment")
    equal.add_argument("--augment", type=int, default=1, choices=(0, 1))
    equal.add_argument("--final-only", action="store_true", help="GDumb: train after the last experience only")
    only = parser.add_argument_group("memory-only")
    only.add_argument("--data", default="cifar100", help="a source of the command line")
    only.add_argument("--per-class", type=int, default=20, help="images per class in the memory")
    only.add_argument("--experiences", type=int, default=5, help="number of parts in which the classes arrive")
    only.add_argument("--iterations", type=int, help="iterations of recipes that learn; by default as published")
    only.add_argument("--network", default="convnet")
    only.add_argument("--runs", type=int, default=3, help="networks trained on each memory")
    only.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
