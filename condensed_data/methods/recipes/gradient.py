"""Methods that match gradients of the training loss: DC, DSA."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from condensed_data import networks
from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import Gradient
from condensed_data.methods.pools import DefaultNetwork, TrainedOnSynthetic
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.published import Published, SettingsTable
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.synthetic import Pixels
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols
from condensed_data.training.sgd import SGDConfig

__all__ = ["dc", "dsa"]

# By samples per class: iterations per network, and epochs of its training between two of them. For more than 50 samples
# per class the authors advise the better of (50, 10) and (20, 25), and (100, 2) for DSA at 100.
_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
_DATASETS = ("mnist", "fashion-mnist", "svhn", "cifar10", "cifar100")
SettingsTable(
    "dc",
    ("period", "epochs"),
    {(dataset, ipc): loops for dataset in _DATASETS for ipc, loops in _LOOPS.items()},
    {"period": "linear", "epochs": "linear"},
)


@register
def dc(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 256,
    lr: float | None = None,
    distance: str = "rows_cosine",
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """Gradient matching: per class, the gradients of the loss on real and synthetic samples.

    Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929, algorithm 1.

    Args:
        ipc: synthetic samples per class.
        iterations: matching steps; 1,000 networks of `ipc` steps each (at most 50), fewer for small sources.
        batch: real samples per class and step.
        lr: learning rate of SGD with momentum 0.5; 0.1, and 0.01 if the matching network is an MLP.
        distance: "rows_cosine" (the paper's), "mse", "cosine" or "l1".
        init: initial samples; Gaussian noise by default.
        network: matching network; by default a ConvNet for images, its 1-D twin for signals, an MLP for vectors.
        within: how real batches are drawn within a class, see `condensed_data.methods.samplers.clustering`.
    """
    pool = _pool(network, SGDConfig())
    return Recipe(
        name="dc",
        synthetic=Pixels(init or coresets.Noise()),
        terms=(Term(Gradient(distance), pool, PerGroup(batch, within=within), Identity()),),
        optimizer=Optimizer("sgd", lr=RateByNetwork(pool.network) if lr is None else lr, momentum=0.5),
        iterations=NetworkLifetimes() if iterations is None else iterations,
        ipc=ipc,
        training=protocols.dc(),
        paper="Zhao, Mopuri and Bilen, Dataset Condensation with Gradient Matching, ICLR 2021, arXiv:2006.05929",
        deviations="One backward pass for all classes, as in the authors' code; the paper steps class by class.",
    )


@register
def dsa(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 256,
    lr: float | None = None,
    distance: str = "rows_cosine",
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """Gradient matching under siamese augmentation: DC with the same random operation on real and synthetic samples.

    Zhao and Bilen, ICML 2021, https://arxiv.org/abs/2102.08259.

    Args:
        ipc, iterations, batch, lr, distance, network, within: see `dc`.
        init: initial samples; random real ones by default.
    """
    recipe = dc(ipc, iterations, batch, lr, distance, init or coresets.Random(), network, within)
    sgd = SGDConfig(augment=SiameseAugment(DefaultDSAOps(), per_sample=True))
    return replace(
        recipe,
        name="dsa",
        terms=(replace(recipe.terms[0], pool=_pool(network, sgd), augment=SiameseAugment(DefaultDSAOps())),),
        training=protocols.dsa(),
        paper="Zhao and Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, "
        "arXiv:2102.08259",
    )


def _pool(network: NetworkLike | DataDefault | None, sgd: SGDConfig) -> TrainedOnSynthetic:
    matching = DefaultNetwork() if network is None else network
    return TrainedOnSynthetic(matching, Published("dc", "period"), Published("dc", "epochs"), sgd)


@dataclass(frozen=True)
class NetworkLifetimes(DataDefault):
    """Iterations of DC and DSA: 1,000 networks of the published length each, and fewer networks for small sources."""

    networks: DefaultIterations = field(default_factory=lambda: DefaultIterations(1000))
    period: Published = field(default_factory=lambda: Published("dc", "period"))

    def __call__(self, info: DatasetInfo) -> int:
        return self.networks(info) * int(self.period(info))


@dataclass(frozen=True)
class RateByNetwork(DataDefault):
    """DC's learning rate of the samples: 0.1, and 0.01 if this matching network is an MLP."""

    matching: NetworkLike | DataDefault = field(default_factory=DefaultNetwork)

    def __call__(self, info: DatasetInfo) -> float:
        network = self.matching(info) if isinstance(self.matching, DataDefault) else self.matching
        return 0.01 if isinstance(networks.network(network), networks.MLP) else 0.1
