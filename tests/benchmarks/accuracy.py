"""Accuracy of recipes on Fashion-MNIST by the standard evaluation, one JSON row per condensed set, resumable.

    python tests/benchmarks/accuracy.py --data-root DATA --out accuracy.jsonl \
        --set random:1:10 --set dm:1:1:600 --set dm:10:1:1000 --networks 3

DATA holds FashionMNIST/raw as torchvision lays it out. `--set RECIPE:IPC:SEEDS[:SWEEPS]` may be repeated. A row that
the file already holds is not computed again. The last iterate is what is evaluated; test data never chooses.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from condensed_data import CondensedDataset, recipes
from condensed_data.evaluation.training import Training, protocol, standard


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", required=True, metavar="RECIPE:IPC:SEEDS[:SWEEPS]")
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--protocol", default="standard", choices=("standard", "unaugmented", "quick"))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    train, test = (
        FashionMNIST(arguments.data_root, train=part, transform=ToTensor()) for part in (True, False)
    )
    for text in arguments.set:
        recipe, ipc, seeds, *sweeps = text.split(":")
        for seed in range(int(seeds)):
            row = {
                "recipe": recipe,
                "ipc": int(ipc),
                "seed": seed,
                "sweeps": int(sweeps[0]) if sweeps else None,
            }
            row |= {
                "networks": arguments.networks,
                "protocol": arguments.protocol,
                "precision": arguments.precision,
            }
            if not _known(arguments.out, row):
                _append(arguments.out, row | _measure(train, test, row, arguments.device))
    _print_table(arguments.out)


def _measure(train: Any, test: Any, row: dict[str, Any], device: str) -> dict[str, Any]:
    options = {"ipc": row["ipc"]} | ({} if row["sweeps"] is None else {"sweeps": row["sweeps"]})
    started = time.perf_counter()
    computing = {"device": device, "precision": row["precision"], "progress": False}
    condensed = CondensedDataset(train, recipes.get(row["recipe"], **options), seed=row["seed"], **computing)
    built = time.perf_counter()
    result = condensed.evaluate(
        test, runs=row["networks"], training=_training(row["protocol"]), seed=row["seed"], **computing
    )
    return {
        "mean": result.mean,
        "std": result.std,
        "accuracies": list(result.accuracies),
        "condense_seconds": built - started,
        "evaluate_seconds": time.perf_counter() - built,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _training(name: str) -> Training:
    """A protocol; "unaugmented" is the standard one of the published coreset rows: 300 epochs as they are."""
    return standard(augment=False) if name == "unaugmented" else protocol(name)


def _known(path: Path, row: dict[str, Any]) -> bool:
    return any(row.items() <= known.items() for known in _rows(path))


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def _print_table(path: Path) -> None:
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in _rows(path):
        key = tuple(row[name] for name in ("recipe", "ipc", "sweeps", "protocol", "precision"))
        groups.setdefault(key, []).extend(row["accuracies"])
    for key, values in sorted(groups.items(), key=str):
        accuracies = 100 * torch.tensor(values)
        spread = f"± {accuracies.std():.2f}" if len(values) > 1 else ""
        print(*key, f"{accuracies.mean():.2f} {spread} ({len(values)} networks)")


if __name__ == "__main__":
    main()
