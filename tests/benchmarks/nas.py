"""Measure how well proxies rank ConvNets of the 720 grid, at equal numbers of images and equal training cost.

    python tests/benchmarks/nas.py --data-root DATA --folder nas --architectures 60
    python tests/benchmarks/nas.py --data-root DATA --folder nas --lr 0.01 0.05 \
        --recipes "dm(iterations=500)" "dsa(iterations=100)"

The reference trains on a fixed subset of Fashion-MNIST (10,000 images) with two seeds, whose agreement is the ceiling.
Every proxy trains the same number of networks for the same number of steps and batch size: on condensed samples of each
recipe, on as many random and herded real ones, and on the subset, stopped early; params, flops, synflow and naswot need
no training. Architectures are tested on training images outside the subset; the test split is not used.
Architectures are drawn at random, narrow ones for small machines, and measured one after another, so that a killed run
continues and any number of them gives a report: a table, ranks.csv and ranks.png in the folder. `rows.jsonl` holds the
cost of each condensed dataset and the numbers of the report. With `--device cuda`, everything is stored in a subfolder
named after the device.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import folder_of
from rows import Row, Rows
from torch.utils.data import Subset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from condensed_data import CondensedDataset, recipes
from condensed_data.core.device import choose_device, device_time
from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import Identity
from condensed_data.training.protocol import OPTIMIZERS, Training
from condensed_data_nas import ProxyObjective, RankReport, convnet_space, rank_report, sample

GRID = 720
ZERO_COST = ("params", "flops", "synflow", "naswot")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data-root", help="folder with Fashion-MNIST")
    add("--folder", type=Path, required=True, help="folder for results")
    add("--architectures", type=int, default=60, help="architectures to measure")
    add("--begin", type=int, default=0, help="skip this many architectures, on which choices were based")
    add("--widths", type=int, nargs="+", default=[4, 8, 16, 32])
    add("--depths", type=int, nargs="+", default=[1, 2, 3, 4])
    add("--images", type=int, default=10_000, help="images to train the reference on")
    add("--val", type=int, default=2_000, help="validation images")
    add("--epochs", type=int, default=5, help="epochs of the reference")
    add("--reference-lr", type=float, default=0.02)
    add("--reference-optimizer", default="sgd", choices=OPTIMIZERS)
    add("--recipes", nargs="+", default=["dm(iterations=200, batch=32, network=convnet-w16)"])
    add("--baselines", nargs="+", default=["random", "herding(features=raw)"])
    add("--ipc", type=int, default=10)
    add("--seeds", type=int, default=1, help="networks per architecture and proxy")
    add("--steps", type=int, default=160, help="training steps of every proxy")
    add("--rows", type=int, default=25, help="batch size of every proxy")
    add("--lr", type=float, nargs="+", default=[0.05], help="learning rates; each gives separate proxies")
    add("--optimizer", default="sgd", choices=OPTIMIZERS, help="optimizer of every proxy")
    add("--constant", action="store_true", help="keep the learning rate constant; else it drops half-way")
    add("--recalibrate", action="store_true", help="test proxies with batch statistics of final weights")
    add("--minutes", type=float, help="start no architecture after this time")
    add("--report", action="store_true", help="report existing measurements only")
    add("--device", default="cpu")
    args = vars(parser.parse_args(words))
    device = choose_device(args["device"])
    return argparse.Namespace(**{**args, "device": device, "folder": folder_of(args["folder"], device)})


def main(words: Sequence[str] | None = None) -> None:
    args = parse(words)
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(args)
    space = convnet_space(args.widths, args.depths)
    configs = sample(space, args.begin + args.architectures)[args.begin :]
    done = configs if not args.report else []
    for number, config in enumerate(configs):
        late = args.minutes is not None and time.perf_counter() - bench.started > 60 * args.minutes
        if args.report or late:
            done = configs[:number] if late else bench.measured(configs)
            break
        bench.measure(config)
        print(f"{number + 1}/{len(configs)}", flush=True)
    report = bench.report(done)
    print(report)
    report.to_csv(args.folder / "ranks.csv")
    report.plot(args.folder / "ranks.png")
    bench.rows.add({"what": "report", "args": _plain(args), "architectures": len(done), **_numbers(report)})


class Bench:
    """Measures proxies and reference, and reports."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.rows, self.started = args, Rows(args.folder / "rows.jsonl"), time.perf_counter()
        self.journal = args.folder / "trials.jsonl"
        source = FashionMNIST(args.data_root, train=True, transform=ToTensor())
        order = torch.randperm(len(source), generator=RandomStreams(0).torch("subset")).tolist()
        self.train = Subset(source, order[: args.images])
        val = Subset(source, order[args.images : args.images + args.val])
        self.preparation_seconds: dict[str, float] = {}
        self.objectives: dict[str, ProxyObjective] = {}
        texts = (*args.recipes, *args.baselines)
        short = [recipes.parse(text).name for text in texts]
        for text, title in zip(texts, short, strict=True):
            condensed, seconds = self._condensed(text)
            for lr in args.lr:
                name = _name(title if short.count(title) == 1 else text, lr, args.lr)
                self.objectives[name], self.preparation_seconds[name] = (
                    self._objective(condensed, val, lr),
                    seconds,
                )
        first = next(iter(self.objectives.values()))
        for lr in args.lr:
            name = _name("early-stop", lr, args.lr)
            self.objectives[name] = first.trained_on(self.train, training=self._training(lr))
        how: dict[str, Any] = {"optimizer": args.reference_optimizer, "lr": args.reference_lr}
        full = Training("reference", epochs=args.epochs, batch_size=64, augment=Identity(), **how)
        self.reference = first.trained_on(self.train, training=full, seeds=2, recalibrate=False)

    def _training(self, lr: float) -> Training:
        """The training of every proxy: the same steps and batch size on any data."""
        args = self.args
        how: dict[str, Any] = {"optimizer": args.optimizer, "augment": Identity()}
        how |= {"milestones": ()} if args.constant else {}
        return Training("proxy", max_steps=args.steps, batch_size=args.rows, lr=lr, **how)

    def _objective(self, condensed: CondensedDataset, val: Any, lr: float) -> ProxyObjective:
        how: dict[str, Any] = {"precision": "fp32", "training": self._training(lr)}
        how |= {"device": self.args.device, "recalibrate": self.args.recalibrate, "seeds": self.args.seeds}
        return ProxyObjective(condensed, space=convnet_space(), val=val, **how)

    def _condensed(self, text: str) -> tuple[CondensedDataset, float]:
        """The condensed dataset of a recipe and its seconds of condensing; condensed only once."""
        key: Row = {"what": "dataset", "recipe": text, "ipc": self.args.ipc, "images": self.args.images}
        found = self.rows.find(**key)
        if found:
            return CondensedDataset.load(self.args.folder / found[0]["folder"]), found[0]["seconds"]
        recipe, device = recipes.parse(text, ipc=self.args.ipc), self.args.device
        started = device_time(device)
        condensed = CondensedDataset(self.train, recipe, cache=False, device=device, precision="fp32")
        seconds, folder = device_time(device) - started, f"datasets/{len(self.rows.find(what='dataset'))}"
        condensed.save(self.args.folder / folder)
        self.rows.add(key | {"seconds": seconds, "folder": folder})
        return condensed, seconds

    def measure(self, config: dict[str, Any]) -> None:
        """Measure one architecture by the reference and by every proxy that trains."""
        for objective in (*self.objectives.values(), self.reference):
            objective.evaluate_many([config], journal=self.journal)

    def measured(self, configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The architectures for which the journal has all results."""
        from condensed_data_nas.parallel import Journal
        from condensed_data_nas.space import key_of

        known = [Journal(self.journal, one.digest()).read() for one in (*self.objectives.values(), self.reference)]
        return [config for config in configs if all(key_of(config) in found for found in known)]

    def report(self, configs: Sequence[dict[str, Any]]) -> RankReport:
        """Compare all proxies with the reference, for a search over the whole grid."""
        return rank_report(
            configs,
            {**self.objectives, **{name: name for name in ZERO_COST}},
            self.reference,
            preparation_seconds=self.preparation_seconds,
            search_size=GRID,
            journal=self.journal,
        )


def _name(name: str, lr: float, rates: Sequence[float]) -> str:
    return name if len(rates) == 1 else f"{name} lr {lr:g}"


def _plain(args: argparse.Namespace) -> Row:
    found = {name: value for name, value in vars(args).items() if name not in ("folder", "data_root")}
    return found | {"device": str(args.device)}


def _numbers(report: RankReport) -> Row:
    """The numbers of the report."""
    return {
        row.name: {
            "spearman": [row.spearman.value, row.spearman.low, row.spearman.high],
            "kendall": [row.kendall.value, row.kendall.low, row.kendall.high],
            "regret": [row.regret.value, row.regret.low, row.regret.high],
            "seconds": row.seconds,
            "preparation_seconds": row.preparation_seconds,
            "speed_up": row.speed_up,
        }
        for row in report.rows
    } | {"reference_seconds": report.reference_seconds}


if __name__ == "__main__":
    main()
