"""How well proxies rank ConvNets of the 720 grid, at equal numbers of images and equal training cost. Resumable.

    python tests/benchmarks/nas.py --data-root DATA --folder nas --architectures 60
    python tests/benchmarks/nas.py --data-root DATA --folder nas --lr 0.01 0.05 \
        --recipes "dm(iterations=500)" "dsa(iterations=100)"

The reference is training on a fixed subset of Fashion-MNIST (10,000 images) with two seeds, whose agreement is the
ceiling; every proxy trains as many networks for as many steps of as many rows: on condensed samples of each recipe, on
random and herded real ones of the same number, and on the subset, stopped early; params, flops, synflow and naswot
train nothing. Architectures are judged by training images outside the subset; the test split is not touched.
Architectures are drawn at random, narrow ones that fit a small machine, and are measured one after another, so that a
killed run goes on and any number of them gives a report: a table, ranks.csv and ranks.png in the folder. `rows.jsonl`
has what each set cost to make, and the report's numbers. With `--device cuda` all lies in a folder of the device's name
in the folder.
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data-root")
    add("--folder", type=Path, required=True)
    add("--architectures", type=int, default=60)
    add("--begin", type=int, default=0, help="skip that many of the draw: those on which choices were made")
    add("--widths", type=int, nargs="+", default=[4, 8, 16, 32])
    add("--depths", type=int, nargs="+", default=[1, 2, 3, 4])
    add("--images", type=int, default=10_000, help="of the reference")
    add("--val", type=int, default=2_000, help="images that judge")
    add("--epochs", type=int, default=5, help="of the reference")
    add("--reference-lr", type=float, default=0.02)
    add("--reference-optimizer", default="sgd", choices=OPTIMIZERS)
    add("--recipes", nargs="+", default=["dm(iterations=200, batch=32, network=convnet-w16)"])
    add("--baselines", nargs="+", default=["random", "herding(features=raw)"])
    add("--ipc", type=int, default=10)
    add("--seeds", type=int, default=1, help="networks of an architecture, for every proxy")
    add("--steps", type=int, default=160, help="of every proxy")
    add("--rows", type=int, default=25, help="of a step of every proxy")
    add("--lr", type=float, nargs="+", default=[0.05], help="of every proxy; each makes proxies of its own")
    add("--optimizer", default="sgd", choices=OPTIMIZERS, help="of every proxy")
    add("--constant", action="store_true", help="of rate, for every proxy; else it drops half-way")
    add("--recalibrate", action="store_true", help="batch statistics of the final weights, for every proxy")
    add("--minutes", type=float, help="begin no architecture after that")
    add("--report", action="store_true", help="measure nothing, and report what there is")
    add("--device", default="cpu")
    asked = vars(parser.parse_args(words))
    device = choose_device(asked["device"])
    return argparse.Namespace(**{**asked, "device": device, "folder": folder_of(asked["folder"], device)})


def main(words: Sequence[str] | None = None) -> None:
    asked = parse(words)
    torch.set_num_threads(1)
    asked.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked)
    space = convnet_space(asked.widths, asked.depths)
    configs = sample(space, asked.begin + asked.architectures)[asked.begin :]
    done = configs if not asked.report else []
    for number, config in enumerate(configs):
        late = asked.minutes is not None and time.perf_counter() - bench.started > 60 * asked.minutes
        if asked.report or late:
            done = configs[:number] if late else bench.measured(configs)
            break
        bench.measure(config)
        print(f"{number + 1}/{len(configs)}", flush=True)
    report = bench.report(done)
    print(report)
    report.to_csv(asked.folder / "ranks.csv")
    report.plot(asked.folder / "ranks.png")
    bench.rows.add({"what": "report", "asked": _plain(asked), "architectures": len(done), **_numbers(report)})


class Bench:
    """The proxies and the reference."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.rows, self.started = asked, Rows(asked.folder / "rows.jsonl"), time.perf_counter()
        self.journal = asked.folder / "trials.jsonl"
        source = FashionMNIST(asked.data_root, train=True, transform=ToTensor())
        order = torch.randperm(len(source), generator=RandomStreams(0).torch("subset")).tolist()
        self.train = Subset(source, order[: asked.images])
        val = Subset(source, order[asked.images : asked.images + asked.val])
        self.prepared: dict[str, float] = {}
        self.objectives: dict[str, ProxyObjective] = {}
        texts = (*asked.recipes, *asked.baselines)
        short = [recipes.parse(text).name for text in texts]
        for text, title in zip(texts, short, strict=True):
            made, seconds = self._made(text)
            for lr in asked.lr:
                name = _name(title if short.count(title) == 1 else text, lr, asked.lr)
                self.objectives[name], self.prepared[name] = self._objective(made, val, lr), seconds
        first = next(iter(self.objectives.values()))
        for lr in asked.lr:
            name = _name("early-stop", lr, asked.lr)
            self.objectives[name] = first.trained_on(self.train, training=self._training(lr))
        how: dict[str, Any] = {"optimizer": asked.reference_optimizer, "lr": asked.reference_lr}
        whole = Training("reference", epochs=asked.epochs, batch_size=64, augment=Identity(), **how)
        self.reference = first.trained_on(self.train, training=whole, seeds=2, recalibrate=False)

    def _training(self, lr: float) -> Training:
        """Of every proxy: as many steps of as many rows, whatever they are drawn from."""
        asked = self.asked
        how: dict[str, Any] = {"optimizer": asked.optimizer, "augment": Identity()}
        how |= {"milestones": ()} if asked.constant else {}
        return Training("proxy", max_steps=asked.steps, batch_size=asked.rows, lr=lr, **how)

    def _objective(self, made: CondensedDataset, val: Any, lr: float) -> ProxyObjective:
        how: dict[str, Any] = {"precision": "fp32", "training": self._training(lr)}
        how |= {"device": self.asked.device, "recalibrate": self.asked.recalibrate, "seeds": self.asked.seeds}
        return ProxyObjective(made, space=convnet_space(), val=val, **how)

    def _made(self, text: str) -> tuple[CondensedDataset, float]:
        """The set of a recipe, and the seconds that it took; made once."""
        key: Row = {"what": "set", "recipe": text, "ipc": self.asked.ipc, "images": self.asked.images}
        found = self.rows.find(**key)
        if found:
            return CondensedDataset.load(self.asked.folder / found[0]["set"]), found[0]["seconds"]
        recipe, device = recipes.parse(text, ipc=self.asked.ipc), self.asked.device
        started = device_time(device)
        made = CondensedDataset(self.train, recipe, cache=False, device=device, precision="fp32")
        seconds, folder = device_time(device) - started, f"sets/{len(self.rows.find(what='set'))}"
        made.save(self.asked.folder / folder)
        self.rows.add(key | {"seconds": seconds, "set": folder})
        return made, seconds

    def measure(self, config: dict[str, Any]) -> None:
        """One architecture by everything that trains."""
        for objective in (*self.objectives.values(), self.reference):
            objective.evaluate_many([config], journal=self.journal)

    def measured(self, configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The architectures that the journal has whole."""
        from condensed_data_nas.journal import Journal
        from condensed_data_nas.space import key_of

        known = [
            Journal(self.journal, one.digest()).read() for one in (*self.objectives.values(), self.reference)
        ]
        return [config for config in configs if all(key_of(config) in found for found in known)]

    def report(self, configs: Sequence[dict[str, Any]]) -> RankReport:
        """All proxies against the reference, for a search over the whole grid."""
        return rank_report(
            configs,
            {**self.objectives, **{name: name for name in ZERO_COST}},
            self.reference,
            prepared=self.prepared,
            architectures=GRID,
            journal=self.journal,
        )


def _name(name: str, lr: float, rates: Sequence[float]) -> str:
    return name if len(rates) == 1 else f"{name} lr {lr:g}"


def _plain(asked: argparse.Namespace) -> Row:
    found = {name: value for name, value in vars(asked).items() if name not in ("folder", "data_root")}
    return found | {"device": str(asked.device)}


def _numbers(report: RankReport) -> Row:
    """What a reader compares."""
    return {
        row.name: {
            "spearman": [row.spearman.value, row.spearman.low, row.spearman.high],
            "kendall": [row.kendall.value, row.kendall.low, row.kendall.high],
            "regret": [row.regret.value, row.regret.low, row.regret.high],
            "seconds": row.seconds,
            "prepared": row.prepared,
            "speed_up": row.speed_up,
        }
        for row in report.rows
    } | {"reference_seconds": report.reference_seconds}


if __name__ == "__main__":
    main()
