"""Samples made of less beside samples stored value by value: HaBa, KFS, FreD and DM at equal iterations; resumable.

    python tests/benchmarks/factorized.py --source fashion-mnist --data-root DATA --out factorized.jsonl \
        --cache CACHE --iterations 300 --width 32 --batch 32 --plot factorized.png

One JSON row for each set and network that is trained on it; a row that the file holds is not measured again, and a set
is condensed once (it lies in the cache). Parts: `kfs` (beside DM at ipc 1, all seeds), `haba` (beside DM at ipc 2),
`constraint` (HaBa with and without its second term, and how alike samples of one basis are), `storage` (accuracy by
stored numbers, first seed) and `architectures` (the sets of ipc 2, first seed, on other networks). The network that
condenses is a ConvNet-3 of `--width`; test data never chooses anything.
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
from condensed_data.training.protocol import Training, protocol

KFS = (("dm", 1), ("kfs", 1))
HABA = (("dm", 2), ("haba", 2))
CONSTRAINT = (("haba", 2), ("haba(contrast=0)", 2))
STORAGE = (*KFS, *HABA, ("dm", 5), ("kfs", 2), ("haba", 5), ("fred", 1), ("fred", 2))
COMPUTING = (
    "source",
    "iterations",
    "width",
    "batch",
    "epochs",
    "test_samples",
)  # what all rows of a run share
PARTS = ("kfs", "haba", "constraint", "storage", "architectures")


@dataclass(frozen=True)
class Job:
    """One set, and the network that is trained on it."""

    recipe: str
    ipc: int
    seed: int
    network: str


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--source", default="fashion-mnist")
    add("--data-root")
    add("--out", type=Path, required=True)
    add("--cache", type=Path, required=True, help="folder where condensed sets are kept")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    add("--seeds", type=int, default=3)
    add("--iterations", type=int, default=300)
    add("--width", type=int, default=128, help="of the ConvNet that condenses, and of the one that is trained")
    add("--batch", type=int, default=256)
    add("--architectures", nargs="+", default=["resnet18", "vgg11", "alexnet"])
    add("--set", nargs="*", default=[], metavar="RECIPE:FIELD=VALUE", help="other arguments of a recipe")
    add("--epochs", type=int, help="of training on a set, in the place of the quick protocol's 300")
    add("--test-samples", type=int, help="the first so many of the test split; all by default")
    add("--device", default="auto")
    add("--precision", default="auto")
    add("--plot", type=Path, metavar="FILE", help="accuracy by stored numbers")
    arguments = parser.parse_args(words)
    rows, data = Rows(arguments.out), Data.load(arguments.source, arguments.data_root)
    for job in _jobs(arguments):
        key = _key(job, arguments)
        if not rows.find(**key):
            with rows.claim(key) as mine:
                if mine:
                    rows.add(key | _measure(job, data, arguments))
                    print(_told(rows.all()[-1]), flush=True)
    asked = {name: getattr(arguments, name) for name in COMPUTING}
    ours = rows.find(**asked)  # those of other iterations or another protocol are not compared with these
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
    return {**vars(job), **{name: getattr(arguments, name) for name in COMPUTING}, "set": changed}


def _measure(job: Job, data: Data, arguments: argparse.Namespace) -> Row:
    computing = {"device": arguments.device, "precision": arguments.precision, "progress": False}
    name, given = parse_call(job.recipe)
    for text in arguments.set:
        of, _, assignment = text.partition(":")
        if of == name:
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
        "alike": alike(condensed),
        "condense_seconds": condensed.metadata.seconds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _training(epochs: int | None) -> Training:
    quick = protocol("quick")
    return quick if epochs is None else replace(quick, name=f"{epochs} epochs", epochs=epochs)


def alike(condensed: CondensedDataset, count: int = 3) -> float | None:
    """Mean of (1 + cosine) / 2 over pairs of samples of one code by two decoders, in embeddings of random ConvNets.

    1 where decoders make the same sample of a code; None for a set without decoders.
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
    """Lines: every set's accuracy over seeds, paired differences, and gains by network."""
    table: dict[tuple[str, int, str], dict[int, Row]] = {}
    for row in rows:
        table.setdefault((row["recipe"], row["ipc"], row["network"]), {})[row["seed"]] = row
    lines = []
    for (recipe, ipc, network), seeds in table.items():
        some = next(iter(seeds.values()))
        near = [row["alike"] for row in seeds.values() if row["alike"] is not None]
        lines.append(
            f"{recipe} ipc {ipc}, {some['floats']:,} numbers, {some['samples']} samples, {network}: "
            f"{_spread([row['accuracy'] for row in seeds.values()])}"
            + (f", alike {statistics.fmean(near):.3f}" if near else "")
        )
    for ours, base, ipc in (("kfs", "dm", 1), ("haba", "dm", 2), ("haba", "haba(contrast=0)", 2)):
        for network in dict.fromkeys(row["network"] for row in rows):
            first, second = table.get((ours, ipc, network), {}), table.get((base, ipc, network), {})
            gains = [first[seed]["accuracy"] - second[seed]["accuracy"] for seed in first.keys() & second.keys()]
            if gains:
                lines.append(f"{ours} over {base} at ipc {ipc}, {network}: {_spread(gains)}")
    return lines


def _spread(shares: Sequence[float]) -> str:
    text = f"{100 * statistics.fmean(shares):.1f}"
    return text + (f" ± {100 * statistics.stdev(shares):.1f} ({len(shares)} seeds)" if len(shares) > 1 else "")


def _told(row: Row) -> str:
    where = f"{row['recipe']} ipc {row['ipc']} seed {row['seed']} {row['network']}"
    return f"{where}: {100 * row['accuracy']:.1f} % ({row['condense_seconds'] or 0:.0f} s)"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Accuracy by stored numbers, a line for each method, on the network that condensed."""
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
