"""MTT at a small budget: accuracy by minutes, experts included; memory and time of the ways to unroll.

    python tests/benchmarks/mtt.py --data-root DATA --folder FOLDER
    python tests/benchmarks/mtt.py --folder FOLDER --only unroll

10,000 training images of Fashion-MNIST, 10 experts of 10 epochs, a ConvNet of width 64, one sample per class, compared
with random samples. Every line of FOLDER/rows.jsonl is one measurement and is not measured again, so that a stopped run
continues. Figures are written to FOLDER as curves.png and unroll.png. On a CPU, time is processor time, so that other
work on the machine does not count. With `--device cuda` it is wall time, memory is that of the device, and everything
is stored in a subfolder of FOLDER named after the device. The last iterate is evaluated; test data chooses nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measuring import folder_of, peak_bytes, reset_peak
from torch.utils.data import Subset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from condensed_data import CondensedDataset, networks, recipes
from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.core.device import choose_device, device_time
from condensed_data.methods.objectives.unrolled import trained_weights
from condensed_data.methods.recipe import Recipe
from condensed_data.networks import ConvNet
from condensed_data.training.protocols import dsa, quick

NETWORK = ConvNet(width=64)
IMAGES, EXPERTS, EPOCHS, IPC = 10_000, 10, 10, 1
STEPS = (5, 10, 20, 30, 40, 50, 60)
COLORS = {"full": "tab:blue", "constant": "tab:orange", "checkpointed": "tab:green"}
Row = dict[str, Any]


class Rows:
    """The measurements of a folder, one JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: list[Row] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def find(self, **key: Any) -> list[Row]:
        return [row for row in self.all if key.items() <= row.items()]

    def add(self, row: Row) -> None:
        print(json.dumps(row), flush=True)
        self.all.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def recipe_of(arguments: argparse.Namespace, iterations: int, unroll: str) -> Recipe:
    recipe = recipes.mtt(IPC, iterations, unroll=unroll, experts=EXPERTS, epochs=EPOCHS, network=NETWORK)
    return recipe if arguments.lr is None else recipe.set(optimizer__lr=arguments.lr)


def condense(arguments: argparse.Namespace, train: Any, recipe: Recipe, **options: Any) -> CondensedDataset:
    cache = arguments.folder / "cache"
    return CondensedDataset(train, recipe, cache=cache, device=arguments.device, **options)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", help="folder with Fashion-MNIST")
    parser.add_argument("--folder", type=Path, required=True, help="folder for results")
    parser.add_argument("--only", choices=("curves", "unroll"), help="measure only these")
    parser.add_argument("--iterations", type=int, nargs="+", default=[50, 100, 200, 300])
    parser.add_argument("--unroll", nargs="+", default=["full", "constant"])
    parser.add_argument("--lr", type=float, help="learning rate of the samples (default: that of the recipe)")
    parser.add_argument("--networks", type=int, default=3, help="networks trained on each result")
    parser.add_argument("--jobs", type=int, default=1, help="processes that train experts")
    parser.add_argument("--device", default="cpu")
    found = vars(parser.parse_args(words))
    device = choose_device(found["device"])
    return argparse.Namespace(**{**found, "device": device, "folder": folder_of(found["folder"], device)})


def main(words: Sequence[str] | None = None) -> None:
    arguments = parse(words)
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(arguments.folder / "rows.jsonl")
    if arguments.only != "unroll":
        measure_curves(arguments, rows)
        draw_curves(rows, arguments.folder / "curves.png")
    if arguments.only != "curves":
        measure_unrolls(rows, arguments.device)
        draw_unrolls(rows, arguments.folder / "unroll.png")


def measure_curves(arguments: argparse.Namespace, rows: Rows) -> None:
    train, test = (FashionMNIST(arguments.data_root, train=part, transform=ToTensor()) for part in (True, False))
    train = Subset(train, range(IMAGES))
    measure_experts(arguments, train, rows)
    for unroll in arguments.unroll:
        for iterations in sorted(arguments.iterations):
            measure_iterations(arguments, train, test, rows, unroll, iterations)
        measure_final(arguments, train, test, rows, unroll)
    for seed in range(arguments.networks):
        if not rows.find(what="random", seed=seed):
            how: dict[str, Any] = {"device": arguments.device, "seed": seed, "progress": False}
            condensed = CondensedDataset(train, recipes.random(IPC), cache=False, **how)
            found = condensed.evaluate(test, NETWORK, 1, training=dsa(), **how)
            rows.add({"what": "random", "seed": seed, "accuracies": list(found.accuracies)})
    for row in rows.find(what="final") + rows.find(what="random"):
        values = ", ".join(f"{100 * value:.1f}" for value in row["accuracies"])
        print(row["what"], row.get("unroll", row.get("seed")), row.get("iterations", ""), values)


def measure_experts(arguments: argparse.Namespace, train: Any, rows: Rows) -> None:
    """Seconds of all experts, extrapolated from those trained now; a stopped run left the others."""
    if rows.find(what="experts"):
        return
    existing, started = count_experts(arguments.folder), elapsed(arguments.device)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        arguments.jobs, spawn
    ) as executor:  # its processes end here, so that their time is counted
        condense(arguments, train, recipe_of(arguments, 1, "full"), executor=executor)
    trained = EXPERTS - existing
    seconds = (elapsed(arguments.device) - started) / trained * EXPERTS
    rows.add({"what": "experts", "trained": trained, "seconds": seconds, "megabytes": megabytes(arguments.folder)})


def count_experts(folder: Path) -> int:
    return len(list(folder.glob("cache/networks/*/*.safetensors")))


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.glob("cache/networks/*/*.safetensors")) / 1e6


def elapsed(device: torch.device) -> float:
    """Processor seconds of all processes on a CPU, wall time on other devices."""
    if device.type != "cpu":
        return device_time(device)
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure_iterations(
    arguments: argparse.Namespace, train: Any, test: Any, rows: Rows, unroll: str, iterations: int
) -> None:
    """Continue from the last measured iterations; then one accuracy by the quick protocol at the learned rate."""
    key = {"what": "mtt", "unroll": unroll, "iterations": iterations, "lr": arguments.lr}
    if rows.find(**key):
        return
    earlier = rows.find(what="mtt", unroll=unroll, lr=arguments.lr)
    before = max((row["seconds"] for row in earlier), default=rows.find(what="experts")[0]["seconds"])
    started = elapsed(arguments.device)
    condensed = condense(arguments, train, recipe_of(arguments, iterations, unroll))
    seconds = before + elapsed(arguments.device) - started
    training, how = replace(quick(), lr=condensed.training.lr), {"device": arguments.device, "progress": False}
    found = condensed.evaluate(test, NETWORK, 1, training=training, **how)
    losses = [loss for _, loss in condensed.metadata.history][-20:]
    result = {"accuracy": found.mean, "loss": sum(losses) / len(losses), "step_size": condensed.training.lr}
    rows.add(key | {"seconds": seconds, **result, "torch": torch.__version__})


def measure_final(arguments: argparse.Namespace, train: Any, test: Any, rows: Rows, unroll: str) -> None:
    """Evaluate the last iterate by MTT's protocol at the learned rate."""
    key = {"what": "final", "unroll": unroll, "iterations": max(arguments.iterations), "lr": arguments.lr}
    if not rows.find(**key):
        condensed = condense(arguments, train, recipe_of(arguments, key["iterations"], unroll))
        found = condensed.evaluate(test, NETWORK, arguments.networks, device=arguments.device, progress=False)
        rows.add(key | {"accuracies": list(found.accuracies), "step_size": condensed.training.lr})


def measure_unrolls(rows: Rows, device: torch.device) -> None:
    spawn = multiprocessing.get_context("spawn")
    for unroll in COLORS:
        for steps in STEPS:
            key = {"what": "unroll", "unroll": unroll, "steps": steps}
            if not rows.find(**key):
                with ProcessPoolExecutor(1, spawn) as executor:  # a new process, because peak memory is per process
                    rows.add(key | executor.submit(unrolled, unroll, steps, device).result())
    print("steps", *(f"{unroll:>24}" for unroll in COLORS))
    for steps in STEPS:
        found = [rows.find(what="unroll", unroll=unroll, steps=steps)[0] for unroll in COLORS]
        print(f"{steps:5}", *(f"{row['megabytes']:12.0f} MB {row['seconds']:6.2f} s" for row in found))


def unrolled(unroll: str, steps: int, device: torch.device) -> Row:
    """Increase of peak memory, and seconds, of a loss and its gradient."""
    torch.set_num_threads(1)
    module = networks.build(NETWORK, 10, (1, 28, 28), 0).to(device).requires_grad_(False)
    net = NetworkView(module, networks.embed_of(module), networks.feature_maps_of(module))
    measured = (0.0, 0.0)
    for count in (1, steps):  # the first warms up the libraries
        x = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
        y = torch.arange(10, device=device)
        size = torch.full((1,), 0.01, device=device, requires_grad=True)
        blocks = Batch(x.repeat(count, 1, 1, 1), y.repeat(count), (10,) * count)
        reset_peak(device)
        before, started = peak_bytes(device), device_time(device)
        weights = trained_weights(net, Pair(Batch(x[:0], y[:0], (0,)), blocks, size), unroll)
        loss = torch.stack([weight.square().sum() for weight in weights.values()]).sum()
        torch.autograd.grad(loss, (x, size))
        seconds = device_time(device) - started
        measured = ((peak_bytes(device) - before) / 1024**2, seconds)
    return {"megabytes": measured[0], "seconds": measured[1]}


def draw_curves(rows: Rows, path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for unroll, color in COLORS.items():
        found = sorted(rows.find(what="mtt", unroll=unroll), key=lambda row: row["iterations"])
        if found:
            minutes = [row["seconds"] / 60 for row in found]
            axes.plot(minutes, [100 * row["accuracy"] for row in found], "o-", color=color, label=f"mtt, {unroll}")
    axes.axvline(rows.find(what="experts")[0]["seconds"] / 60, color="gray", linestyle=":")
    random = [value for row in rows.find(what="random") for value in row["accuracies"]]
    axes.axhline(100 * sum(random) / len(random), color="black", linestyle="--", label="random samples")
    axes.set(
        xlabel="minutes of one processor or device, experts (to the dotted line) included",
        ylabel="accuracy, %",
    )
    axes.legend()
    figure.savefig(path, dpi=150, bbox_inches="tight")


def draw_unrolls(rows: Rows, path: Path) -> None:
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 4))
    for axes, value, label in zip(panels, ("megabytes", "seconds"), ("memory, MB", "time, s"), strict=True):
        for unroll, color in COLORS.items():
            found = [rows.find(what="unroll", unroll=unroll, steps=steps)[0][value] for steps in STEPS]
            axes.plot(STEPS, found, "o-", color=color, label=unroll)
        axes.set(xlabel="training steps", ylabel=label)
        axes.legend()
    figure.savefig(path, dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    main()
