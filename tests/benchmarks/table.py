"""The results table: one JSON row per recipe, number of samples per class, seed and network.

    python tests/benchmarks/table.py --data fashion-mnist --data-root DATA --out table.jsonl --ipc 1 --seeds 3 \
        --recipes whole random dm dsa "bdm(base=dsa, features=trained)" --seconds 300 --set "iid:pretrain.epochs=5"
    python tests/benchmarks/table.py --data mnist5000 --out table.jsonl --ipc 10 --seeds 3 --protocol quick \
        --recipes random dm --iterations 500 --networks mlp convnet lenet alexnet vgg11 resnet18
    python tests/benchmarks/table.py --out table.jsonl --render table.md

Rows that the file contains are not measured again, so that the script can be killed, restarted, extended, and run by
several processes on one file. A dataset is condensed once and cached for other networks. There are two kinds of equal
budgets: `--iterations N`, or `--seconds S`, which measures a few iterations of each recipe and runs as many as fit into
that time; the first measurement decides their number, which is stored in every row. On a CPU, seconds are processor
time over the number of threads, so that other work on the machine does not count. Networks that a recipe trains
beforehand are not part of a budget; shorten their training with --set. The last iterate is evaluated; test data chooses
nothing. Protocols are those of `condensed_data.training.protocols`, `unaugmented` (`quick` without
augmentation), and `own`, that of each recipe.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rows import Row, Rows
from table_parts import Bench, Data, recipe_of, seconds
from table_report import render
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, networks
from condensed_data.core import spec_text
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.data.augment import Identity
from condensed_data.data.source import inspect
from condensed_data.engine.divergence import DivergedError
from condensed_data.training.evaluate import evaluate_tensors
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.features import extractor
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import PROTOCOLS, protocol, quick

NAMES = (*PROTOCOLS, "unaugmented", "own")
SHORT = "Trained(pretrain=Pretraining(epochs=1))"  # features for --diversity; one epoch is enough


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="file for the rows")
    add("--render", type=Path, metavar="FILE.md", help="then write tables, pairs and FILE.png")
    add(
        "--data",
        default="fashion-mnist",
        help="mnist5000, digits, fashion-mnist, or any source of the command line",
    )
    add("--data-root", help="folder with torchvision's files")
    add("--recipes", nargs="+", default=[], help="`whole`, or recipes with optional arguments in parentheses")
    add(
        "--set",
        action="append",
        default=[],
        metavar="RECIPE:FIELD=VALUE",
        help="set a field of one recipe",
    )
    add("--ipc", nargs="+", type=int, default=[10])
    add("--seeds", type=int, default=1, help="condensed datasets per recipe")
    add("--first-seed", type=int, default=0)
    add("--networks", nargs="+", default=["convnet"])
    add("--runs", type=int, default=3, help="networks per architecture and dataset")
    add("--protocol", nargs="+", default=["dsa"], choices=NAMES)
    add("--whole-epochs", type=int, default=20, help="epochs on the full dataset; the protocols add one")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--iterations", type=int, help="iterations of every recipe that learns (default: as published)")
    budget.add_argument("--seconds", type=float, help="seconds of condensing for every recipe that learns")
    add(
        "--diversity",
        nargs="?",
        const=SHORT,
        metavar="FEATURES",
        help="also measure distances within classes in these features",
    )
    add("--cache", type=Path, help="folder for condensed datasets (default: the usual cache)")
    add("--threads", type=int, help="number of threads of torch")
    add("--device", default="auto")
    add("--precision", default="auto")
    add("--retry", action="store_true", help="measure failed rows again")
    return parser.parse_args(words)


class Table:
    """The requested rows; measures those that are missing."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.rows = arguments, Rows(arguments.out)
        self.overrides = _overrides(arguments.set, arguments.recipes)
        for network in arguments.networks:
            networks.network(network)
        for text in arguments.recipes:
            if text != "whole":
                recipe_of(text, min(arguments.ipc), self.overrides[text], arguments.iterations)
        self.features = extractor(spec_text.parse_value(arguments.diversity)) if arguments.diversity else None
        device = choose_device(arguments.device)
        precision = choose_precision(arguments.precision, device)
        data = Data.load(arguments.data, arguments.data_root)
        self.bench = Bench(data, device, precision, arguments.cache)

    def run(self) -> None:
        """Measure missing rows, and wait for those that other processes have claimed."""
        pending = self._jobs()
        while pending:
            waiting, worked = [], False
            for job in pending:
                with self.rows.claim(*job) as claimed:
                    missing = self._missing(*job)
                    if claimed and missing:
                        self._measure(*job, missing)
                        worked = True
                if missing and not claimed:
                    waiting.append(job)
            pending = waiting
            if pending and not worked:
                time.sleep(1)

    def _jobs(self) -> list[tuple[str, int, int]]:
        """(recipe, ipc, seed): all recipes with the first seed before the second."""
        first, seeds = self.arguments.first_seed, self.arguments.seeds
        jobs = [
            (text, 0 if text == "whole" else ipc, seed)
            for seed in range(first, first + seeds)
            for ipc in self.arguments.ipc
            for text in self.arguments.recipes
        ]
        return list(dict.fromkeys(jobs))

    def _key(self, text: str, ipc: int, seed: int, network: str, name: str) -> Row:
        """The values that identify a row."""
        arguments = self.arguments
        learns = text != "whole" and bool(recipe_of(text, max(ipc, 1), self.overrides[text], None).terms)
        amount = (
            {"iterations": arguments.iterations}
            if arguments.iterations
            else {"seconds": arguments.seconds}
            if arguments.seconds
            else {}
        )
        key: Row = {"data": arguments.data, "recipe": text, "set": self.overrides[text], "ipc": ipc, "seed": seed}
        key |= {"network": network, "protocol": name, "runs": arguments.runs, "precision": self.bench.precision}
        return key | ({"epochs": arguments.whole_epochs} if text == "whole" else {"budget": amount if learns else {}})

    def _missing(self, text: str, ipc: int, seed: int) -> list[Row]:
        keys = [
            self._key(text, ipc, seed, network, name)
            for name in self.arguments.protocol
            for network in self.arguments.networks
            if not (text == "whole" and name == "own")
        ]
        known = self.rows.all()
        if self.arguments.retry:
            known = [row for row in known if "error" not in row]
        return [key for key in keys if not any(key.items() <= row.items() for row in known)]

    def _measure(self, text: str, ipc: int, seed: int, missing: list[Row]) -> None:
        """Condense or load the dataset, and train the missing networks on it; a failure is a row too."""
        try:
            condensed, details = (
                (None, {}) if text == "whole" else self._condensed(text, ipc, seed, missing[0]["budget"])
            )
            for key in missing:
                started = seconds()
                result = self._evaluate_full(key) if condensed is None else self._evaluate(condensed, key)
                took = {"evaluate_seconds": round(seconds() - started, 1)}
                self._add(key | details | _scores(result) | took)
        except (ValueError, ArithmeticError) as error:
            for key in missing:
                self._add(key | {"error": f"{type(error).__name__}: {error}"})

    def _condensed(self, text: str, ipc: int, seed: int, budget: Row) -> tuple[CondensedDataset, Row]:
        iterations = self._iterations(text, ipc) if "seconds" in budget else budget.get("iterations")
        recipe = recipe_of(text, ipc, self.overrides[text], iterations)
        started = seconds()
        try:
            condensed = self.bench.condense(recipe, seed)
        except DivergedError as error:
            raise ArithmeticError(f"diverged in iteration {error.iteration}") from error
        details = {"iterations": condensed.metadata.iterations, "samples": len(condensed)}
        details |= {"condense_seconds": self._seconds(text, ipc, seed, budget, seconds() - started)}
        if self.features is not None:
            found = self.bench.diversity(condensed, self.features)
            details |= {
                "diversity": found and found.condensed,
                "diversity_real": found and found.real,
                "features": self.arguments.diversity,
            }
        return condensed, details

    def _seconds(self, text: str, ipc: int, seed: int, budget: Row, now: float) -> float:
        """Seconds of condensing, as measured first; later processes find the dataset in the cache."""
        key = {
            "kind": "condensed",
            "data": self.arguments.data,
            "recipe": text,
            "set": self.overrides[text],
            "ipc": ipc,
        }
        key |= {"seed": seed, "budget": budget, "precision": self.bench.precision}
        if not self.rows.find(**key):
            self._add(key | {"seconds": round(now, 1)})
        return float(self.rows.find(**key)[0]["seconds"])

    def _iterations(self, text: str, ipc: int) -> int:
        """Iterations that fit into the budget in seconds, as first measured for this recipe."""
        arguments = self.arguments
        key = {"kind": "pace", "data": arguments.data, "recipe": text, "set": self.overrides[text], "ipc": ipc}
        key |= {"seconds": arguments.seconds, "precision": self.bench.precision}
        if not self.rows.find(**key):
            pace = self.bench.iteration_seconds(recipe_of(text, ipc, self.overrides[text], None))
            self._add(key | {"iteration_seconds": pace, "iterations": max(1, int(arguments.seconds / pace))})
        return int(self.rows.find(**key)[0]["iterations"])

    def _evaluate(self, condensed: CondensedDataset, key: Row) -> Evaluation:
        training = None if key["protocol"] == "own" else _training(key["protocol"])
        how: dict[str, Any] = {
            "device": self.bench.device,
            "precision": self.bench.precision,
            "progress": False,
        }
        return condensed.evaluate(
            self.bench.data.test, key["network"], key["runs"], training=training, seed=key["seed"], **how
        )

    def _evaluate_full(self, key: Row) -> Evaluation:
        bench, source = self.bench, inspect(self.bench.data.train)
        context = bench.context(1, 0)
        real, names = context.real, context.real.class_names
        test = TensorDataset(*bench.data.test.tensors)  # type: ignore[attr-defined]
        labels = torch.searchsorted(real.class_values, test.tensors[1])
        return evaluate_tensors(
            real.space.standardize(real.all_samples()),
            real.labels,
            real.space.standardize(test.tensors[0]),
            labels,
            num_classes=real.num_classes,
            network=key["network"],
            runs=key["runs"],
            training=replace(_training(key["protocol"]), epochs=self.arguments.whole_epochs),
            seed=key["seed"],
            classes=names if source.class_names else None,
            device=bench.device,
            precision=bench.precision,
        )

    def _add(self, row: Row) -> None:
        self.rows.add(row | {"threads": torch.get_num_threads(), "torch": torch.__version__})
        value = row.get("mean", row.get("error", row.get("iterations", row.get("seconds"))))
        shown = f"{100 * value:.2f} %" if "mean" in row else value
        title = row.get("kind") or f"{row['network']} {row['protocol']}"
        print(row["recipe"], f"ipc {row['ipc']}", f"seed {row.get('seed', '-')}", f"{title}:", shown, flush=True)


def _overrides(texts: list[str], known: list[str]) -> dict[str, dict[str, str]]:
    """Parse --set: fields and values by recipe."""
    found: dict[str, dict[str, str]] = {text: {} for text in known}
    for text in texts:
        named = [
            (one, name) for one in known for name in {one, spec_text.parse_call(one)[0]} if text.startswith(f"{name}:")
        ]
        for one, name in named:
            field, equals, value = text.removeprefix(f"{name}:").partition("=")
            found[one][field] = value
        if not named or not equals:
            raise ValueError(f"--set {text}: write RECIPE:FIELD=VALUE with one of --recipes ({', '.join(known)}).")
    return found


def _scores(result: Evaluation) -> Row:
    return {
        "mean": result.mean,
        "std": result.std,
        "accuracies": list(result.accuracies),
        "per_class": list(result.per_class),
    }


def main(words: Sequence[str] | None = None) -> None:
    arguments = _arguments(words)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.recipes:
        Table(arguments).run()
    if arguments.render:
        print(render(Rows(arguments.out).all(), arguments.render))


def _training(name: str) -> Training:
    return replace(quick(), name=name, augment=Identity()) if name == "unaugmented" else protocol(name)


if __name__ == "__main__":
    main()
