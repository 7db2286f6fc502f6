"""Factorized datasets (HaBa, KFS, FreD) compared with DM's pixels, at equal iterations.

    python tests/benchmarks/factorized.py --source fashion-mnist --data-root DATA --out factorized.jsonl \
        --cache CACHE --iterations 300 --width 32 --batch 32 --plot factorized.png

One JSON row per condensed dataset and network trained on it. Rows that the file contains are not measured again, and a
dataset is condensed once, because the cache keeps it. Parts: `kfs` (and DM at ipc 1, all seeds), `haba` (and DM at ipc
2), `constraint` (HaBa with and without its second term, and the similarity of samples of one basis), `storage`
(accuracy by stored numbers, first seed) and `architectures` (the datasets of ipc 2, first seed, with other networks).
Matching uses a ConvNet-3 of `--width`; test data chooses nothing.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from rows import Row, Rows
from table_parts import Data

from condensed_data import CondensedDataset, networks, recipes
from condensed_data.core.spec_text import parse_call
from condensed_data.networks import ConvNet
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import protocol

KFS = (("dm", 1), ("kfs", 1))
HABA = (("dm", 2), ("haba", 2))
CONSTRAINT = (("haba", 2), ("haba(contrast=0)", 2))
STORAGE = (*KFS, *HABA, ("dm", 5), ("kfs", 2), ("haba", 5), ("fred", 1), ("fred", 2))
SETTINGS = (
    "source",
    "iterations",
    "width",
    "batch",
    "epochs",
    "test_samples",
)  # equal in all rows of a run
PARTS = ("kfs", "haba", "constraint", "storage", "architectures")


@dataclass(frozen=True)
class Job:
    """A condensed dataset and the network trained on it."""

    recipe: str
    ipc: int
    seed: int
    network: str


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--source", default="fashion-mnist", help="a source of the command line")
    add("--data-root")
    add("--out", type=Path, required=True, help="file for the rows")
    add("--cache", type=Path, required=True, help="folder for condensed datasets")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    add("--seeds", type=int, default=3)
    add("--iterations", type=int, default=300)
    add("--width", type=int, default=128, help="width of the ConvNet, for matching and for evaluation")
    add("--batch", type=int, default=256)
    add("--architectures", nargs="+", default=["resnet18", "vgg11", "alexnet"])
    add("--set", nargs="*", default=[], metavar="RECIPE:FIELD=VALUE", help="set an argument of a recipe")
    add("--epochs", type=int, help="epochs of training on a dataset (default: 300, those of the quick protocol)")
    add("--test-samples", type=int, help="use only the first samples of the test split")
    add("--device", default="auto")
    add("--precision", default="auto")
    add("--plot", type=Path, metavar="FILE", help="draw accuracy by stored numbers")
    arguments = parser.parse_args(words)
    rows, data = Rows(arguments.out), Data.load(arguments.source, arguments.data_root)
    for job in _jobs(arguments):
        key = _key(job, arguments)
        if not rows.find(**key):
            with rows.claim(key) as claimed:
                if claimed:
                    rows.add(key | _measure(job, data, arguments))
                    print(_line(rows.all()[-1]), flush=True)
    settings = {name: getattr(arguments, name) for name in SETTINGS}
    ours = rows.find(**settings)  # rows with other settings are not compared with these
    print("\n".join(report(ours)))
    if arguments.plot:
        draw(ours, arguments.plot)


def _jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    own = f"convnet-w{arguments.width}"
    lists = {
        "kfs": [Job(*item, seed, own) for seed in range(arguments.seeds) for item in KFS],
        "haba": [Job(*item, seed, own) for seed in range(arguments.seeds) for item in HABA],
        "constraint": [Job(*item, seed, own) for seed in range(arguments.seeds) for item in CONSTRAINT],
        "storage": [Job(*item, 0, own) for item in STORAGE],
        "architectures": [Job(*item, 0, name) for name in arguments.architectures for item in HABA],
    }
    yield from dict.fromkeys(job for part in arguments.parts for job in lists[part])


def _key(job: Job, arguments: argparse.Namespace) -> Row:
    changed = sorted(text for text in arguments.set if text.startswith(parse_call(job.recipe)[0] + ":"))
    return {**vars(job), **{name: getattr(arguments, name) for name in SETTINGS}, "set": changed}


def _measure(job: Job, data: Data, arguments: argparse.Namespace) -> Row:
    computing = {"device": arguments.device, "precision": arguments.precision, "progress": False}
    name, given = parse_call(job.recipe)
    for text in arguments.set:
        owner, _, assignment = text.partition(":")
        if owner == name:
            given |= parse_call(f"x({assignment})")[1]
    recipe = recipes.get(
        name,
        ipc=job.ipc,
        iterations=arguments.iterations,
        batch=arguments.batch,
        network=ConvNet(width=arguments.width),
        **given,
    )
    condensed = CondensedDataset(data.train, recipe, seed=job.seed, cache=arguments.cache, **computing)
    test = data.test
    if arguments.test_samples is not None:
        test = torch.utils.data.TensorDataset(*(part[: arguments.test_samples] for part in test.tensors))
    result = condensed.evaluate(
        test, job.network, runs=1, training=_training(arguments.epochs), seed=job.seed, **computing
    )
    return {
        "accuracy": result.mean,
        "protocol": result.training.label,
        "samples": len(condensed),
        "floats": condensed.stored_floats,
        "similarity": similarity(condensed),
        "condense_seconds": condensed.metadata.seconds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _training(epochs: int | None) -> Training:
    quick = protocol("quick")
    return quick if epochs is None else replace(quick, name=f"{epochs} epochs", epochs=epochs)


def similarity(condensed: CondensedDataset, count: int = 3) -> float | None:
    """Mean of (1 + cosine) / 2 over pairs of samples of one code, in embeddings of random ConvNets.

    1 if all decoders make the same sample of a code; None for a dataset without decoders.
    """
    decoders = len((condensed.stored or {}).get("decoders", ()))
    if decoders < 2:
        return None
    x = condensed.metadata.space.standardize(condensed.images)
    found = []
    for seed in range(count):
        module = networks.build(ConvNet(width=64), len(condensed.classes), tuple(x.shape[1:]), seed)
        with torch.no_grad():
            z = F.normalize(networks.embed_of(module)(x)).unflatten(0, (-1, decoders))
        cosines = z @ z.transpose(1, 2)
        off = ~torch.eye(decoders, dtype=torch.bool)
        found.append(float(((1 + cosines[:, off]) / 2).mean()))
    return statistics.fmean(found)


def report(rows: Sequence[Row]) -> list[str]:
    """Lines with the accuracy of every dataset over seeds, and paired differences by network."""
    table: dict[tuple[str, int, str], dict[int, Row]] = {}
    for row in rows:
        table.setdefault((row["recipe"], row["ipc"], row["network"]), {})[row["seed"]] = row
    lines = []
    for (recipe, ipc, network), seeds in table.items():
        first = next(iter(seeds.values()))
        similar = [row["similarity"] for row in seeds.values() if row["similarity"] is not None]
        lines.append(
            f"{recipe} ipc {ipc}, {first['floats']:,} numbers, {first['samples']} samples, {network}: "
            f"{_spread([row['accuracy'] for row in seeds.values()])}"
            + (f", similarity {statistics.fmean(similar):.3f}" if similar else "")
        )
    for ours, base, ipc in (("kfs", "dm", 1), ("haba", "dm", 2), ("haba", "haba(contrast=0)", 2)):
        for network in dict.fromkeys(row["network"] for row in rows):
            first, second = table.get((ours, ipc, network), {}), table.get((base, ipc, network), {})
            gains = [first[seed]["accuracy"] - second[seed]["accuracy"] for seed in first.keys() & second.keys()]
            if gains:
                lines.append(f"{ours} over {base} at ipc {ipc}, {network}: {_spread(gains)}")
    return lines


def _spread(fractions: Sequence[float]) -> str:
    text = f"{100 * statistics.fmean(fractions):.1f}"
    if len(fractions) == 1:
        return text
    return f"{text} ± {100 * statistics.stdev(fractions):.1f} ({len(fractions)} seeds)"


def _line(row: Row) -> str:
    name = f"{row['recipe']} ipc {row['ipc']} seed {row['seed']} {row['network']}"
    return f"{name}: {100 * row['accuracy']:.1f} % ({row['condense_seconds'] or 0:.0f} s)"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw accuracy by stored numbers, one line per method, for the network used for matching."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    own = [row for row in rows if row["network"] == f"convnet-w{row['width']}" and row["seed"] == 0]
    for recipe in dict.fromkeys(row["recipe"] for row in own):
        points = sorted((row["floats"], 100 * row["accuracy"]) for row in own if row["recipe"] == recipe)
        axes.plot(*zip(*points, strict=True), marker="o", label=recipe)
    axes.set(xscale="log", xlabel="stored numbers", ylabel="accuracy in %")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
