"""What `continual.py` compares: hosts of Avalanche, memories of one budget, and the network that they all train.

A competitor is "host+memory", such as "gdumb+dm14", or the name of one of Avalanche's own strategies. All of them take
the same number of optimizer steps an experience, batches of the same size, and the same augmentation.

What a budget counts: a byte a pixel, whatever the precision in which Avalanche keeps it; of condensed memories and
controls also labels and affine maps, which Avalanche's own get for nothing; of DER++ the logits, four bytes each.
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

from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import SiameseAugment
from condensed_data.methods import coresets, recipes
from condensed_data.methods.base import Batch
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
LOGITS = 4 * CLASSES  # bytes that DER keeps beside an image
BLOCK = 16  # bytes of the label and the affine map of a condensed class
MEAN, STD = 0.2860, 0.3530


class Images(Dataset[Any]):
    """Fashion-MNIST as standardized tensors; a byte a pixel in memory."""

    classes = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels, self.targets = pixels, labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return (self.pixels[index].unsqueeze(0) / 255 - MEAN) / STD, self.targets[index]


class Augmentation:
    """Siamese augmentation with a draw of its own for every batch and sample."""

    def __init__(self, seed: int) -> None:
        self.rng, self.step = RandomStreams(seed), 0
        self.spec = SiameseAugment(per_sample=True)

    def __call__(self, x: Tensor) -> Tensor:
        self.step += 1
        drawn = self.spec.draw(self.rng, self.step, (0,), SHAPE)
        return drawn(Batch(x, torch.zeros(len(x)), (len(x),)))


class Network(nn.Module, BaseModel):
    """Two convolutions (16, 32), one hidden layer of 128; 207,018 weights. It augments what it is trained on.

    The augmentation is inside so that strategies have it alike: current data and replayed data, however they are
    forwarded.
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
    """Augments batches, for a strategy that takes the network apart (iCaRL's two models see the same batch)."""

    def __init__(self, augment: Augmentation) -> None:
        super().__init__()
        self.augment = augment

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.mbatch[0] = self.augment(strategy.mbatch[0])


class Steps(SupervisedPlugin):  # type: ignore[misc]
    """Ends the training of an experience after so many steps; it takes one epoch more than they need."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.done = steps, 0

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.done = 0

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.done += 1
        if self.done >= self.steps:
            strategy.stop_training()


def raw_images(budget: int, beside: int = 0) -> int:
    """Images of one byte a pixel that fit with so many bytes beside each; labels are given to them for nothing."""
    return budget // (PIXELS + beside)


def _coreset(name: str, init: Any) -> Recipe:
    return Recipe(name=name, synthetic=Pixels(init))


def _condensed(
    factor: int, recipe: Callable[[], Recipe], **arguments: Any
) -> Callable[[int, int], CondensedBuffer]:
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
# hosts whose network sees all samples, current and tested ones too, at a quarter of the pixels
REDUCED = {"gdumb14": "gdumb", "er_ace14": "er_ace", "der14": "der"}
# memories with logits beside the samples
EVEN = {"adaptive_size": False, "total_num_classes": CLASSES}
NEAR = fast(lr=0.2, init=coresets.Random())  # begins at real samples, however few
WITH_LOGITS: dict[str, dict[str, Any]] = {
    "raw14": {"factor": 2, "recipe": recipes.random(), **EVEN},
    "fast14": {"factor": 2, "recipe": fast(), **EVEN},
    "small14": {"factor": 2, "recipe": fast(REDUCED_ITERATIONS), "reduced_inputs": True, **EVEN},
    "near28": {"factor": 1, "recipe": NEAR, **EVEN},
    # mostly real samples, and all of the memory from the first experience on
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
        steps: of the optimizer, an experience.
        common: model, optimizer, criterion and the like.
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
    """Host and memory of a competitor; no memory where the host brings its own."""
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
    # a memory of a fixed number of classes fills up slowly, and ER_ACE waits for a whole batch of it
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
    """As many samples as fit with their logits, which our memory keeps in two bytes each."""
    how = WITH_LOGITS[memory]
    size = (budget - CLASSES * BLOCK) // (PIXELS // how["factor"] ** 2 + LOGITS // 2)
    return CondensedBuffer(
        size - size % CLASSES,
        logits=True,
        seed=seed,
        **how,
    )


def _mir(size: int) -> Any:
    """MIR replays only where more samples than its batch are of classes that the last batch had not.

    After two experiences that is half of the memory: a larger batch would leave it unused longer than need be. In the
    second experience it replays nothing: all it has then is of the last batch's classes.
    """
    half = 2 * (size // 4)
    return MIRPlugin(batch_size_mem=max(1, min(BATCH, half - 1)), mem_size=size)


def icarl_size(images: int) -> int:
    """The largest memory size with which iCaRL never keeps more than so many images.

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


def memory_of(found: Any) -> Any:
    """The storage policy of a strategy, or None: iCaRL has none."""
    holders = [found, *found.plugins]
    return next((holder.storage_policy for holder in holders if hasattr(holder, "storage_policy")), None)


def seen(found: Any) -> Callable[[Tensor], Tensor]:
    """What the network of a strategy sees of tested samples."""
    reducing = [plugin for plugin in found.plugins if isinstance(plugin, ReducedInputs)]
    return reducing[0].reduce_resolution if reducing else lambda samples: samples


def held(found: Any) -> tuple[int, int]:
    """Samples and bytes that a strategy's memory holds."""
    memory = memory_of(found)
    if isinstance(memory, CondensedBuffer):
        return len(memory.buffer), memory.memory_bytes
    if memory is not None:
        count = len(memory.buffer)
        return count, count * (PIXELS + (LOGITS if isinstance(found, DER) else 0))
    parts: Sequence[Tensor] = next(plugin.x_memory for plugin in found.plugins if hasattr(plugin, "x_memory"))
    count = sum(map(len, parts))
    return count, count * PIXELS
