"""What `continual.py` compares: hosts of Avalanche, memories of one budget, and the network that they all train.

A competitor is "host+memory", such as "gdumb+dm14", or the name of one of Avalanche's own strategies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from avalanche.models.base_model import BaseModel
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.plugins.mir import MIRPlugin
from avalanche.training.storage_policy import (
    ClassBalancedBuffer,
    ExperienceBalancedBuffer,
    ReservoirSamplingBuffer,
)
from avalanche.training.supervised import DER, ER_ACE, ICaRL, Naive
from torch import Tensor, nn
from torch.utils.data import Dataset

from condensed_data import recipes
from condensed_data.augment import Siamese
from condensed_data.centroids import Centroids
from condensed_data.parts import Batch
from condensed_data.recipe import Recipe
from condensed_data.streams import Streams
from condensed_data.synthetic import Pixels
from condensed_data_avalanche import CondensedBuffer, CondensedGDumbPlugin, CondensedReplayPlugin, fast
from condensed_data_avalanche.condensing import chosen

BATCH = 64
CLASSES = 10
SHAPE = (1, 28, 28)
MEAN, STD = 0.2860, 0.3530


class Images(Dataset[Any]):
    """Fashion-MNIST as standardised tensors; a byte a pixel in memory."""

    classes = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels, self.targets = pixels, labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return (self.pixels[index].unsqueeze(0) / 255 - MEAN) / STD, self.targets[index]


class Network(nn.Module, BaseModel):
    """Two convolutions (16, 32), one hidden layer of 128; 207,018 weights. It augments what it is trained on.

    The augmentation is inside so that every strategy has it alike: current data, replayed data, logits.
    """

    def __init__(self, seed: int, augment: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU()),
        )
        self.classifier = nn.Linear(128, CLASSES)
        self.streams = Streams(seed)
        self.augment = Siamese(per_sample=True) if augment else None
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.augment is not None:
            self.step += 1
            drawn = self.augment.draw(self.streams, self.step, (0,), SHAPE)
            x = drawn(Batch(x, torch.zeros(len(x)), (len(x),)))
        return self.classifier(self.features(x))

    def get_features(self, x: Tensor) -> Tensor:
        return self.features(x)


def raw_images(budget: int) -> int:
    """Images of one byte a pixel that fit; labels are given to them for nothing."""
    return budget // 784


def _coreset(name: str, init: Any) -> Recipe:
    return Recipe(name=name, synthetic=Pixels(init))


def _condensed(factor: int, recipe: Callable[[], Recipe]) -> Callable[[int, int], CondensedBuffer]:
    def memory(budget: int, seed: int) -> CondensedBuffer:
        return CondensedBuffer.from_bytes(
            budget, SHAPE, total_num_classes=CLASSES, factor=factor, recipe=recipe(), seed=seed
        )

    return memory


MEMORIES: dict[str, Callable[[int, int], Any]] = {
    # of Avalanche
    "class": lambda budget, seed: ClassBalancedBuffer(raw_images(budget)),
    "experience": lambda budget, seed: ExperienceBalancedBuffer(raw_images(budget)),
    "reservoir": lambda budget, seed: ReservoirSamplingBuffer(raw_images(budget)),
    # controls at equal bytes
    "raw14": _condensed(2, recipes.random),
    "kmeans28": _condensed(1, lambda: _coreset("centroids", Centroids())),
    "kmeans14": _condensed(2, lambda: _coreset("centroids", Centroids())),
    # condensed
    "fast28": _condensed(1, fast),
    "fast14": _condensed(2, fast),
    "dm14": _condensed(2, lambda: chosen("dm", 1)),
    "dsa14": _condensed(2, lambda: chosen("dsa", 1)),
}


def strategy(name: str, budget: int, seed: int, epochs: int, common: dict[str, Any]) -> Any:
    """The strategy of a competitor.

    Args:
        name: "host+memory", or one of "er_ace", "der++", "icarl", "mir".
        budget: bytes of the memory.
        seed: of condensing.
        epochs: of training an experience.
        common: model, optimizer, criterion and the like.

    Raises:
        ValueError: for an unknown name.
    """
    host, _, memory = name.partition("+")
    size = raw_images(budget)
    common = {**common, "train_epochs": epochs}
    if host in ("gdumb", "replay") and memory in MEMORIES:
        plugin = {"gdumb": CondensedGDumbPlugin, "replay": CondensedReplayPlugin}[host]
        if host == "replay" and memory in ("class", "experience", "reservoir"):
            policy = MEMORIES[memory](budget, seed)
            return Naive(**common, plugins=[ReplayPlugin(policy.max_size, storage_policy=policy)])
        return Naive(**common, plugins=[plugin(storage_policy=MEMORIES[memory](budget, seed))])
    if host == "er_ace":
        found = ER_ACE(**common, mem_size=size, batch_size_mem=min(BATCH, size, 20 if memory else BATCH))
        if memory:
            found.storage_policy = MEMORIES[memory](budget, seed)
        return found
    if name == "mir":
        return Naive(**common, plugins=[MIRPlugin(batch_size_mem=min(BATCH, size) - 1, mem_size=size)])
    if name == "der++":
        return DER(**common, mem_size=size, batch_size_mem=min(BATCH, size), alpha=0.1, beta=0.5)
    if name == "icarl":
        return _icarl(size, common)
    raise ValueError(
        f"Competitor {name!r} is unknown; hosts gdumb, replay, er_ace; memories {sorted(MEMORIES)}."
    )


def _icarl(size: int, common: dict[str, Any]) -> Any:
    kept = {key: value for key, value in common.items() if key not in ("model", "criterion")}
    model = common["model"]
    return ICaRL(
        **kept,
        feature_extractor=model.features,
        classifier=model.classifier,
        memory_size=size,
        buffer_transform=None,
        fixed_memory=True,
    )


def memory_of(found: Any) -> Any:
    """The storage policy of a strategy, or None."""
    if hasattr(found, "storage_policy"):
        return found.storage_policy
    return next(
        (plugin.storage_policy for plugin in found.plugins if hasattr(plugin, "storage_policy")), None
    )
