"""Ablation of IID's two terms: shares of the gradient, accuracy by terms, weights, beta, iterations, ipc, and a figure.

    python tests/benchmarks/iid_ablation.py --source fashion-mnist --data-root DATA --out iid.jsonl \
        --iterations 500 1000 2000 --ipc 10 50 --seeds 3 --figure iid.png

One JSON row per setting and seed. Rows that the file contains are not measured again, and a longer run continues a
shorter one. The last iterate is evaluated; test data chooses nothing. Weights of centralization are those of the linear
form; the exponential form gets the weight that pulls equally at the typical distance. Below each accuracy stand the
shares of the terms in the gradient (`iid_shares.py`). The figure shows features of real and synthetic samples of a few
classes, by a network trained on the real ones, in the first two principal components of the real ones: with both terms
and with neither.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from iid_picture import draw
from iid_shares import shares, text_of
from rows import Row, Rows
from torch.utils.data import Subset

from condensed_data import CondensedDataset, Recipe, networks, recipes
from condensed_data.data import catalog
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.methods.objectives import Centralization
from condensed_data.methods.recipes.iid import TYPICAL_DISTANCE
from condensed_data.training.features import Trained
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.protocols import PROTOCOLS, protocol

PUBLISHED = {"dm": (0.05, 0.01), "idm": (0.01, 0.03)}  # weights of centralization and of covariance matching
FACTORS = (0.1, 1.0, 10.0)  # of the published weights
BETAS = (0.0, 1.0, 2.0, 5.0)
COLUMNS = ("base", "centralization", "covariance", "form", "beta", "ipc", "iterations")


def main() -> None:
    arguments = _arguments()
    train, test = (_split(arguments, split) for split in ("train", "test"))
    rows = Rows(arguments.out)
    for name in arguments.parts:
        wanted = [row | _settings(arguments) for row in _PARTS[name](arguments)]
        for seed in range(arguments.seeds):
            for row in wanted:
                if not rows.find(**row, seed=seed):
                    whole = row | {"seed": seed}
                    rows.add(whole | _measure(train, test, whole))
        _print_table(name, wanted, rows)
    if arguments.figure is not None:
        _draw(train, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--source", default="digits", help="a source of the command line")
    add("--data-root")
    add("--samples", type=int, help="use only the first samples of the training split")
    add("--test-samples", type=int, help="use only the first samples of the test split")
    add("--batch", type=int, help="real samples per class and step instead of those of the base")
    add("--out", type=Path, required=True, help="file for the rows")
    add("--base", default="dm", choices=sorted(PUBLISHED))
    add("--parts", nargs="+", default=list(_PARTS), choices=list(_PARTS), help="tables to print (default: all)")
    add("--ipc", type=int, nargs="+", default=[10], help="values of the table `ipc`; the others use the first")
    add(
        "--iterations",
        type=int,
        nargs="+",
        default=[1000],
        help="values of the table `iterations`; the others use the last",
    )
    add("--seeds", type=int, default=1)
    add("--network", default="convnet", help="network for matching and for evaluation")
    add("--extractor", default="resnet18", help="network trained on the real samples, for centralization")
    add("--extractors", type=int, default=20, help="number of extractors")
    add("--epochs", type=int, default=40, help="epochs of training the extractors")
    add("--extractor-batch", type=int, default=256, help="batch size of training them")
    add("--protocol", default="quick", choices=tuple(PROTOCOLS))
    add("--train-epochs", type=int, help="epochs instead of those of the protocol")
    add("--runs", type=int, default=3, help="networks trained on each result")
    add("--figure", type=Path, help="image file for the features, such as iid.png")
    add("--classes", type=int, default=3, help="classes in the figure")
    return parser.parse_args()


def _components(arguments: argparse.Namespace) -> Iterator[Row]:
    """Neither term, each alone, both, and both with centralization in the paper's exponential form."""
    centralization, covariance = PUBLISHED[arguments.base]
    for first, second in ((0.0, 0.0), (centralization, 0.0), (0.0, covariance), (centralization, covariance)):
        yield _row(arguments, centralization=first, covariance=second)
    yield _row(arguments, form="exponential")


def _weights(arguments: argparse.Namespace) -> Iterator[Row]:
    """Each weight at several multiples of the published one, the other as published."""
    centralization, covariance = PUBLISHED[arguments.base]
    yield from (_row(arguments, centralization=round(factor * centralization, 9)) for factor in FACTORS)
    yield from (_row(arguments, covariance=round(factor * covariance, 9)) for factor in FACTORS if factor != 1)


def _betas(arguments: argparse.Namespace) -> Iterator[Row]:
    """Several values of beta, the cost below which a sample is not penalized in the exponential form."""
    yield from (_row(arguments, form="exponential", beta=beta) for beta in BETAS)


def _by(field: str) -> Any:
    """Both terms and neither, for all values of an argument."""

    def rows(arguments: argparse.Namespace) -> Iterator[Row]:
        for value in getattr(arguments, field):
            yield _row(arguments, **{field: value}, centralization=0.0, covariance=0.0)
            yield _row(arguments, **{field: value})

    return rows


_PARTS = {
    "components": _components,
    "weights": _weights,
    "betas": _betas,
    "iterations": _by("iterations"),
    "ipc": _by("ipc"),
}


def _row(arguments: argparse.Namespace, **changed: Any) -> Row:
    """The published setting with some values changed."""
    centralization, covariance = PUBLISHED[arguments.base]
    row = {"base": arguments.base, "centralization": centralization, "covariance": covariance, "form": "linear"}
    return row | {"beta": 1.0, "ipc": arguments.ipc[0], "iterations": arguments.iterations[-1]} | changed


def _settings(arguments: argparse.Namespace) -> Row:
    """The other arguments that a row depends on."""
    names = (
        "source",
        "samples",
        "test_samples",
        "batch",
        "network",
        "extractor",
        "extractors",
        "epochs",
        "extractor_batch",
        "protocol",
        "train_epochs",
        "runs",
    )
    return {name: getattr(arguments, name) for name in names}


def _split(arguments: argparse.Namespace, split: str) -> Any:
    dataset = catalog.load(arguments.source, split, data_root=arguments.data_root)
    samples = arguments.samples if split == "train" else arguments.test_samples
    return dataset if samples is None else Subset(dataset, range(samples))


def recipe_of(row: Row) -> Recipe:
    """The recipe of a row, without early stopping, so that all rows have equal iterations."""
    objective = Centralization(form=row["form"], beta=row["beta"])
    batch = {} if row["batch"] is None else {"batch": row["batch"]}
    return recipes.get(
        "iid",
        base=row["base"],
        ipc=row["ipc"],
        iterations=row["iterations"],
        centralization=objective,
        centralization_weight=row["centralization"] / objective.slope(TYPICAL_DISTANCE),
        covariance_weight=row["covariance"],
        network=row["network"],
        extractor=row["extractor"],
        pretrain=_pretraining(row["epochs"], row["extractors"], row["extractor_batch"]),
        early_stopping=None,
        **batch,
    )


def _pretraining(epochs: int, networks: int, batch: int) -> Pretraining:
    """The authors' training of extractors, with these values."""
    default = Pretraining(epochs, networks)
    return replace(default, sgd=replace(default.sgd, batch_size=batch))


def _measure(train: Any, test: Any, row: Row) -> Row:
    training = protocol(row["protocol"])
    if row["train_epochs"] is not None:
        training = replace(training, name=f"{training.name}, {row['train_epochs']} epochs", epochs=row["train_epochs"])
    started = time.perf_counter()
    condensed = CondensedDataset(train, recipe_of(row), seed=row["seed"], progress=False)
    built = time.perf_counter()
    how: Row = {"runs": row["runs"], "training": training, "seed": row["seed"], "progress": False}
    result = condensed.evaluate(test, row["network"], **how)
    return {
        "mean": result.mean,
        "shares": shares(RealData.read(inspect(train), progress=False), condensed, row["seed"]),
        "accuracies": list(result.accuracies),
        "condense_seconds": built - started,
        "other_seconds": time.perf_counter() - built,
        "torch": torch.__version__,
    }


def _print_table(name: str, wanted: Iterable[Row], rows: Rows) -> None:
    """Per setting the mean accuracy over seeds and networks, its deviation over seeds, and the gradient's shares."""
    print(f"{name}: accuracy in %", " ".join(f"{field:>14s}" for field in COLUMNS))
    for row in wanted:
        means = [100 * found["mean"] for found in rows.find(**row)]
        spread = f" ± {statistics.pstdev(means):.2f}" if len(means) > 1 else ""
        values = " ".join(f"{row[field]:>14}" for field in COLUMNS)
        print(f"  {statistics.fmean(means):6.2f}{spread} ({len(means)} seeds)", values, flush=True)
        for when in ("start", "end"):
            found = [one["shares"][when] for one in rows.find(**row)]
            parts = {name: statistics.fmean(one[name] for one in found) for name in found[0]}
            print(f"    gradient at the {when}: {text_of(parts)}", flush=True)


def _draw(train: Any, arguments: argparse.Namespace) -> None:
    neither = _row(arguments, centralization=0.0, covariance=0.0)
    settings = _settings(arguments)
    condensed = {
        f"{arguments.base}, {name}": CondensedDataset(train, recipe_of(row | settings), progress=False)
        for name, row in (("neither term", neither), ("both terms", _row(arguments)))
    }
    pretrain = _pretraining(arguments.epochs, arguments.extractors, arguments.extractor_batch)
    draw(
        train,
        condensed,
        Trained(networks.network(arguments.extractor), pretrain),
        arguments.classes,
        arguments.figure,
    )


if __name__ == "__main__":
    main()
