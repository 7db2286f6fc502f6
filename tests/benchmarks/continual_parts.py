"""The competitors of `continual.py`: strategies of Avalanche, memories of one budget, and the network that all train.

A competitor is "host+memory", such as "gdumb+dm14" (the host is the strategy that holds the memory), or the name of one
of Avalanche's own strategies. All of them take the same number of optimizer steps per experience, with batches of the
same size and the same augmentation.

A budget counts one byte per pixel, whatever the precision in which Avalanche keeps it; for condensed memories and
controls also labels and affine maps, which are free for Avalanche's own; for DER++ the logits, four bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
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

from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import SiameseAugment
from condensed_data.methods import coresets, recipes
from condensed_data.methods.centroids import Centroids
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import Pixels
from condensed_data_avalanche import (
    CondensedBuffer,
    CondensedGDumbPlugin,
    CondensedReplayPlugin,
    ReducedInputs,
    fast,
)
from condensed_data_avalanche.memory_recipe import REDUCED_ITERATIONS, memory_recipe

BATCH = 64
CLASSES = 10
EXPERIENCES = 5
SHAPE = (1, 28, 28)
PIXELS = 784
LOGITS = 4 * CLASSES  # bytes of the logits that DER keeps of an image
BLOCK = 16  # bytes of the label and the affine map of a condensed class
MEAN, STD = 0.2860, 0.3530


class Images(Dataset[Any]):
    """Fashion-MNIST as standardized tensors; one byte per pixel in memory."""

    classes = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels, self.targets = pixels, labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return (self.pixels[index].unsqueeze(0) / 255 - MEAN) / STD, self.targets[index]


class Augmentation:
    """Siamese augmentation with separate random draws for every batch and sample."""

    def __init__(self, seed: int) -> None:
        self.rng, self.step = RandomStreams(seed), 0
        self.spec = SiameseAugment(per_sample=True)

    def __call__(self, x: Tensor) -> Tensor:
        self.step += 1
        drawn = self.spec.draw(self.rng, self.step, (0,), SHAPE)
        return drawn(Batch(x, torch.zeros(len(x)), (len(x),)))


class Network(nn.Module, BaseModel):
    """Two convolutions (16, 32), one hidden layer of 128; 207,018 weights. It augments its inputs in training.

    The augmentation is part of the network so that all strategies apply it alike to current and to replayed data.
    """

    def __init__(self, seed: int, augment: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU()),
        )
        self.classifier = nn.Linear(128, CLASSES)
        self.augment = Augmentation(seed) if augment else None

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.augment is not None:
            x = self.augment(x)
        return self.classifier(self.features(x))

    def get_features(self, x: Tensor) -> Tensor:
        return self.features(x)


class Augmented(SupervisedPlugin):  # type: ignore[misc]
    """Augments batches, for a strategy that splits the network (iCaRL's two models get the same batch)."""

    def __init__(self, augment: Augmentation) -> None:
        super().__init__()
        self.augment = augment

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.mbatch[0] = self.augment(strategy.mbatch[0])


class Steps(SupervisedPlugin):  # type: ignore[misc]
    """Ends the training of an experience after a number of steps; needs one epoch more than these steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.done = steps, 0

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.done = 0

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.done += 1
        if self.done >= self.steps:
            strategy.stop_training()


def raw_images(budget: int, extra: int = 0) -> int:
    """Images of one byte per pixel that fit into a budget, with `extra` bytes each; labels are free."""
    return budget // (PIXELS + extra)


def _coreset(name: str, init: Any) -> Recipe:
    return Recipe(name=name, synthetic=Pixels(init))


def _condensed(factor: int, recipe: Callable[[], Recipe], **arguments: Any) -> Callable[[int, int], CondensedBuffer]:
    def memory(budget: int, seed: int) -> CondensedBuffer:
        return CondensedBuffer.from_bytes(
            budget, SHAPE, total_num_classes=CLASSES, factor=factor, recipe=recipe(), seed=seed, **arguments
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
    "small14": _condensed(2, lambda: fast(REDUCED_ITERATIONS), reduced_inputs=True),
    "dm14": _condensed(2, lambda: memory_recipe("dm", 1)),
    "dsa14": _condensed(2, lambda: memory_recipe("dsa", 1)),
}


OWN = ("er_ace", "der++", "icarl", "mir")
# hosts whose network gets all samples, current and tested ones too, at a quarter of the pixels
REDUCED = {"gdumb14": "gdumb", "er_ace14": "er_ace", "der14": "der"}
# memories that keep logits with the samples
EVEN = {"adaptive_size": False, "total_num_classes": CLASSES}
NEAR = fast(lr=0.2, init=coresets.Random())  # initialized at real samples, however few
WITH_LOGITS: dict[str, dict[str, Any]] = {
    "raw14": {"factor": 2, "recipe": recipes.random(), **EVEN},
    "fast14": {"factor": 2, "recipe": fast(), **EVEN},
    "small14": {"factor": 2, "recipe": fast(REDUCED_ITERATIONS), "reduced_inputs": True, **EVEN},
    "near28": {"factor": 1, "recipe": NEAR, **EVEN},
    # mostly real samples; uses all of the memory from the first experience on
    "mixed14": {"factor": 2, "recipe": NEAR, "real_fraction": 0.8},
    "mixed28": {"factor": 1, "recipe": NEAR, "real_fraction": 0.8},
}


def known() -> list[str]:
    """Names of all competitors."""
    hosts, small = ("gdumb", "replay", "er_ace"), [memory for memory in MEMORIES if memory.endswith("14")]
    reduced = [f"{host}+{memory}" for host in ("gdumb14", "er_ace14") for memory in small]
    with_logits = [f"der{'14' * memory.endswith('14')}+{memory}" for memory in WITH_LOGITS]
    return [*(f"{host}+{memory}" for host in hosts for memory in MEMORIES), *reduced, *with_logits, *OWN]


def strategy(name: str, budget: int, seed: int, steps: int, common: dict[str, Any]) -> Any:
    """The strategy of a competitor.

    Args:
        name: one of `known()`.
        budget: bytes of the memory.
        seed: of condensing.
        steps: optimizer steps per experience.
        common: model, optimizer, criterion and other arguments of all strategies.
    """
    host, memory = _parts(name)
    more = [Steps(steps)]
    if host in REDUCED:
        host = REDUCED[host]
        more.append(ReducedInputs(2, train=host != "gdumb"))
    common = {**common, "train_epochs": steps + 1}
    if name == "icarl":
        return _icarl(icarl_size(raw_images(budget)), common, more)
    if host in ("er_ace", "der", "der++"):
        build = _er_ace if host == "er_ace" else _der
        return build(memory, budget, seed, {**common, "plugins": more})
    plugin = _mir(raw_images(budget)) if name == "mir" else _plugin(host, memory, budget, seed)
    return Naive(**common, plugins=[*more, plugin])


def _parts(name: str) -> tuple[str, str]:
    """Host and memory of a competitor; no memory if the host has its own."""
    if name in OWN:
        return name, ""
    host, _, memory = name.partition("+")
    return host, memory


def _plugin(host: str, memory: str, budget: int, seed: int) -> Any:
    policy = MEMORIES[memory](budget, seed)
    if host == "gdumb":
        return CondensedGDumbPlugin(storage_policy=policy)
    if isinstance(policy, CondensedBuffer):
        return CondensedReplayPlugin(storage_policy=policy)
    return ReplayPlugin(policy.max_size, storage_policy=policy)


def _er_ace(memory: str, budget: int, seed: int, common: dict[str, Any]) -> Any:
    size = raw_images(budget)
    policy = MEMORIES[memory](budget, seed) if memory else None
    # a memory of a fixed number of classes fills up slowly, but ER_ACE waits for a whole batch of it
    first = policy.max_size // EXPERIENCES if policy else size
    found = ER_ACE(**common, mem_size=size, batch_size_mem=min(BATCH, size, first))
    if policy:
        found.storage_policy = policy
    return found


def _der(memory: str, budget: int, seed: int, common: dict[str, Any]) -> Any:
    size = raw_images(budget, LOGITS)
    policy = _with_logits(memory, budget, seed) if memory else None
    first = policy.max_size // EXPERIENCES if policy else size
    found = DER(**common, mem_size=size, batch_size_mem=min(BATCH, size, first), alpha=0.1, beta=0.5)
    if policy:
        found.storage_policy = policy
    return found


def _with_logits(memory: str, budget: int, seed: int) -> CondensedBuffer:
    """As many samples as fit with their logits, which CondensedBuffer keeps in two bytes each."""
    options = WITH_LOGITS[memory]
    size = (budget - CLASSES * BLOCK) // (PIXELS // options["factor"] ** 2 + LOGITS // 2)
    return CondensedBuffer(
        size - size % CLASSES,
        logits=True,
        seed=seed,
        **options,
    )


def _mir(size: int) -> Any:
    """MIR replays only if its memory has more samples than its batch of classes that the last batch did not have.

    After two experiences these are half of the memory: with a larger batch the memory would be unused for longer than
    necessary. In the second experience MIR replays nothing: its samples are all of classes of the last batch.
    """
    half = 2 * (size // 4)
    return MIRPlugin(batch_size_mem=max(1, min(BATCH, half - 1)), mem_size=size)


def icarl_size(images: int) -> int:
    """The largest memory size with which iCaRL never keeps more than this many images.

    It keeps ceil(size / seen classes) of every class.
    """
    seen = [CLASSES * done // EXPERIENCES for done in range(1, EXPERIENCES + 1)]
    fits = (size for size in range(images, 0, -1) if all(ceil(size / k) * k <= images for k in seen))
    return next(fits, 1)


def _icarl(size: int, common: dict[str, Any], more: list[Any]) -> Any:
    kept = {key: value for key, value in common.items() if key not in ("model", "criterion")}
    model = common["model"]
    return ICaRL(
        **kept,
        feature_extractor=model.features,
        classifier=model.classifier,
        memory_size=size,
        buffer_transform=None,
        fixed_memory=True,
        plugins=[*more, *([] if model.augment is None else [Augmented(model.augment)])],
    )


def memory_of(strategy: Any) -> Any:
    """The storage policy of a strategy, or None: iCaRL has none."""
    holders = [strategy, *strategy.plugins]
    return next((holder.storage_policy for holder in holders if hasattr(holder, "storage_policy")), None)


def eval_transform(strategy: Any) -> Callable[[Tensor], Tensor]:
    """What a strategy does to tested samples before the network gets them."""
    reducing = [plugin for plugin in strategy.plugins if isinstance(plugin, ReducedInputs)]
    return reducing[0].reduce_resolution if reducing else lambda samples: samples


def memory_size(strategy: Any) -> tuple[int, int]:
    """Number of samples and bytes in the memory of a strategy."""
    memory = memory_of(strategy)
    if isinstance(memory, CondensedBuffer):
        return len(memory.buffer), memory.memory_bytes
    if memory is not None:
        count = len(memory.buffer)
        return count, count * (PIXELS + (LOGITS if isinstance(strategy, DER) else 0))
    parts: Sequence[Tensor] = next(plugin.x_memory for plugin in strategy.plugins if hasattr(plugin, "x_memory"))
    count = sum(map(len, parts))
    return count, count * PIXELS
