"""DM's protocol for continual learning: networks are trained on the memory only, with k images per class.

Classes arrive in 5 or 10 equal parts, in an order drawn by the seed. For each part, `--per-class` samples per class are
made from its data and kept; then new networks are trained from scratch on the whole memory, by DSA's protocol
with DSA's augmentation for every method, and tested on all classes seen (after Prabhu, Torr and Dokania,
GDumb, ECCV 2020). Methods are recipes: `random`, `herding`, `dsa`, `dm`, any other name or call.

Zhao and Bilen (Dataset Condensation with Distribution Matching, WACV 2023, https://arxiv.org/abs/2110.04181, section
on continual learning) give a figure for CIFAR-100 with 20 images per class and five orders. After the last part it
shows about 34.4 % (DM), 31.7 % (DSA), 28.2 % (herding) and 24.8 % (random) in 5 parts; 34.6, 30.3, 27.4 and 24.8 % in
10. These values are second-hand; compare with the figure itself before relying on a decimal.

As there, the budget is counted in images, learned ones in float32, and samples are standardized by mean and deviation
of the whole train split, which a learner that never saw later classes could not know. What differs: a part is
standardized once more by its own while it is condensed, so that augmentation fills with the part's mean. The last layer
has the classes seen so far. Iterations follow the recipe's rule, which takes fewer for parts smaller than 50,000
samples; `--iterations` overrides that. Herding uses networks trained on the part.

Letters: n samples, K classes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks import nc_benchmark
from rows import Row, Rows
from table_parts import recipe_of
from torch import Tensor
from torch.utils.data import Dataset, Subset

from condensed_data.core.device import choose_precision
from condensed_data.data import catalog
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.training.evaluate import evaluate_tensors
from condensed_data.training.protocols import protocol
from condensed_data_avalanche import CondensedBuffer


class Samples(Dataset[Any]):
    """Standardized samples (n, *shape) float32 and labels (n,), as Avalanche reads them."""

    def __init__(self, samples: Tensor, labels: Tensor) -> None:
        self.samples, self.targets = samples, labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.samples[index], self.targets[index]


@dataclass(frozen=True)
class Protocol:
    """What all methods and orders have in common.

    Attributes:
        data: a source of the command line.
        per_class: samples per class in the memory.
        experiences: number of parts in which the classes arrive.
        network: to train on the memory.
        runs: networks per memory.
        steps: optimizer steps instead of the protocol's epochs, or None.
        iterations: of recipes that learn, or None for their own.
        samples: the first ones of each split, or None for all.
    """

    data: str
    per_class: int
    experiences: int
    network: str
    runs: int
    steps: int | None
    iterations: int | None
    samples: int | None
    data_root: Path
    device: str

    @staticmethod
    def from_arguments(args: argparse.Namespace) -> Protocol:
        """From the arguments of `continual.py`."""
        if min(args.per_class, args.experiences, args.runs, args.steps or 1) < 1:
            raise SystemExit("--per-class, --experiences, --runs and --steps must be at least 1.")
        return Protocol(**{name: getattr(args, name) for name in Protocol.__dataclass_fields__})

    def run(self, rows: Rows, methods: list[str], seeds: list[int]) -> None:
        """Measure the runs that are not in the file.

        Raises:
            SystemExit: for unknown methods, or classes that cannot be divided into equal parts.
        """
        if not methods:
            raise SystemExit("--competitors is empty. Name recipes, such as: random herding dsa dm.")
        try:
            parsed = {method: recipe_of(method, self.per_class, {}, self.iterations) for method in methods}
        except ValueError as error:
            raise SystemExit(f"--competitors: {error}") from error
        shared = {name: value for name, value in asdict(self).items() if name not in ("data_root", "device")}
        keys = [{"protocol": "memory-only", "competitor": method, **shared} for method in methods]
        for key in keys:
            if not parsed[key["competitor"]].terms:
                key["iterations"] = None  # nothing is learned
        jobs = [key | {"seed": seed} for seed in seeds for key in keys]
        jobs = [job for job in jobs if not rows.find(**job)]
        data = self._data() if jobs else None
        for job in jobs:
            with rows.claim(*job.items()) as claimed:
                if claimed and not rows.find(**job):
                    row = job | self.measure(data, parsed[job["competitor"]], job["seed"])
                    rows.add(row)
                    print(_line(row), flush=True)

    def measure(self, data: Any, recipe: Any, seed: int) -> Row:
        """One order of the classes: accuracy after each part, in percent, mean over the networks."""
        _, test, names = data
        order = np.random.RandomState(seed).permutation(len(names)).tolist()
        stream = nc_benchmark(
            *data[:2],
            n_experiences=self.experiences,
            task_labels=False,
            shuffle=False,
            fixed_class_order=order,
        ).train_stream
        memory = CondensedBuffer(
            self.per_class * len(names),
            adaptive_size=False,
            total_num_classes=len(names),
            recipe=recipe,
            storage_dtype=torch.float32,
            device=self.device,
            seed=seed,
        )
        rank = torch.tensor(order).argsort()  # labels in the order in which their classes come
        curve, spread, condensing, started = [], [], [], time.perf_counter()
        for number, experience in enumerate(stream):
            memory.update(SimpleNamespace(experience=experience))
            condensing.append(round(memory.condensing_seconds, 1))
            seen = len(names) * (number + 1) // self.experiences
            kept = memory.to_condensed_dataset()
            labels = rank[torch.tensor(kept.targets)]
            there = rank[torch.tensor(test.targets)]
            tested = test.samples[there < seen], there[there < seen]
            called = [names[label] for label in order[:seen]]
            found = self._evaluate(kept.images, labels, tested, called, seed)
            curve.append(round(100 * found.mean, 2))
            spread.append(round(100 * found.std, 2))
        return {
            "curve": curve,
            "spread": spread,
            "seconds": round(time.perf_counter() - started, 1),
            "condensing_seconds": condensing,
            "samples_kept": len(memory.buffer),
            "memory_bytes": memory.memory_bytes,
        }

    def _evaluate(
        self, images: Tensor, labels: Tensor, tested: tuple[Tensor, Tensor], names: list[str], seed: int
    ) -> Any:
        usual = protocol("dsa")
        training = usual if self.steps is None else replace(usual, max_steps=self.steps)
        device = torch.device(self.device)
        return evaluate_tensors(
            images,
            labels,
            *tested,
            num_classes=len(names),
            network=self.network,
            runs=self.runs,
            training=training,
            seed=seed,
            classes=names,
            device=device,
            precision=choose_precision("auto", device),
        )

    def _data(self) -> tuple[Samples, Samples, tuple[str, ...]]:
        """Both splits, standardized by the train split, and the names of the classes."""
        train, test = (self._split(split) for split in catalog.SPLITS)
        count, fewest = train.num_classes, int(train.labels.bincount().min())
        if count % self.experiences:
            raise SystemExit(f"--experiences {self.experiences} does not divide the {count} classes of {self.data}.")
        if fewest < self.per_class:
            raise SystemExit(
                f"--per-class {self.per_class} is more than the {fewest} samples of a class of {self.data}."
            )
        if not torch.equal(train.class_values, test.class_values):
            raise SystemExit(f"{self.data}: both splits must hold the same classes; raise --samples.")
        made = [Samples(train.space.standardize(part.all_samples()), part.labels.clone()) for part in (train, test)]
        return made[0], made[1], train.class_names

    def _split(self, split: str) -> RealData:
        found: Any = catalog.load(self.data, split, data_root=self.data_root)
        if self.samples is not None:
            found = Subset(found, range(min(self.samples, len(found))))
        return RealData.read(inspect(found), progress=False)


def _line(row: Row) -> str:
    return (
        f"{row['competitor']:18} {row['data']}, {row['per_class']} a class, {row['experiences']} parts, seed "
        f"{row['seed']}: {row['curve'][-1]:.2f} %, {row['seconds']} s, condensing at most "
        f"{max(row['condensing_seconds'])} s a part"
    )
