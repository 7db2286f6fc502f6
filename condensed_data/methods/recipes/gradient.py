"""Methods that compare gradients of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import Gradient
from condensed_data.methods.pools import DefaultNetwork, TrainedOnReal, TrainedOnSynthetic
from condensed_data.methods.pools.inner_loop import NetworkLifetimes
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.synthetic import DefaultFactor, MultiFormation, Pixels
from condensed_data.training.evaluate import standard
from condensed_data.training.protocol import idc as idc_training
from condensed_data.training.sgd import SGDConfig

__all__ = ["dc", "dsa", "idc", "idc_i"]


@register
def dc(
    ipc: int = 10,
    iterations: int | None = None,
    batch: int = 256,
    lr: float = 0.1,
    distance: str = "rows_cosine",
    init: coresets.Init | None = None,
    network: Any = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """Gradient matching: per class, the gradients of the loss on real and on synthetic samples.

    Args:
        ipc: synthetic samples per class.
        iterations: matching steps; 1,000 networks of `ipc` steps each (at most 50), fewer for small sources.
        batch: real samples per class and step.
        lr: of SGD with momentum 0.5; the authors use 0.01 where the matching network is an MLP.
        distance: "rows_cosine" (the paper's), "mse", "cosine" or "l1".
        init: where the samples begin; noise.
        network: matching network; by default a ConvNet for images, its 1-D twin for signals, an MLP for vectors.
        within: draws real batches from clusters, see `condensed_data.methods.samplers.clustering`.

    References:
        Zhao, Mopuri and Bilen, Dataset Condensation with Gradient Matching, ICLR 2021,
        https://arxiv.org/abs/2006.05929, algorithm 1.
    """
    pool = TrainedOnSynthetic(network or DefaultNetwork())
    return _matching(
        "dc",
        ipc,
        iterations,
        lr,
        init or coresets.Noise(),
        Term(Gradient(distance), pool, PerGroup(batch, within=within), Identity()),
        "Zhao, Mopuri and Bilen, Dataset Condensation with Gradient Matching, ICLR 2021, arXiv:2006.05929",
    )


@register
def dsa(
    ipc: int = 10,
    iterations: int | None = None,
    batch: int = 256,
    lr: float = 0.1,
    distance: str = "rows_cosine",
    init: coresets.Init | None = None,
    network: Any = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """Gradient matching under siamese augmentation: DC, with the same random operation on both sides.

    Args:
        ipc, iterations, batch, lr, distance, network, within: see `dc`.
        init: where the samples begin; random real ones.

    References:
        Zhao and Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021,
        https://arxiv.org/abs/2102.08259.
    """
    sgd = SGDConfig(augment=SiameseAugment(DefaultDSAOps(), per_sample=True))
    pool = TrainedOnSynthetic(network or DefaultNetwork(), sgd=sgd)
    return _matching(
        "dsa",
        ipc,
        iterations,
        lr,
        init or coresets.Random(),
        Term(Gradient(distance), pool, PerGroup(batch, within=within), SiameseAugment(DefaultDSAOps())),
        "Zhao and Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, arXiv:2102.08259",
    )


def _matching(
    name: str, ipc: int, iterations: int | None, lr: float, init: coresets.Init, term: Term, paper: str
) -> Recipe:
    """What DC and DSA share."""
    return Recipe(
        name=name,
        synthetic=Pixels(init),
        terms=(term,),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.5),
        iterations=NetworkLifetimes() if iterations is None else iterations,
        ipc=ipc,
        training=standard(augment=name != "dc"),
        paper=paper,
        deviations="One backward for all classes, as in the authors' code; the paper steps class by class.",
    )


@register
def idc_i(
    ipc: int = 10,
    iterations: int | None = None,
    batch: int = 64,
    lr: float | None = None,
    distance: str | None = None,
    init: coresets.Init | None = None,
    network: Any = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """IDC without multi-formation: gradients of convolutions, by networks that are trained on real samples.

    Args:
        ipc: synthetic samples per class.
        iterations: 2,000 networks that live 100 iterations each; proportionally fewer for sources of less than 50,000 samples.
        batch: real samples per class and step.
        lr: of SGD with momentum 0.5, for values in [0, 1]; published by distance, samples per class and size.
        distance: "l1", published for gray digits and clothes, or "mse", for color; by default after the channels.
        init: where the samples begin; random real ones.
        network: matching network, with convolutions; by default a ConvNet, or its 1-D twin for signals.
        within: draws real batches from clusters, see `condensed_data.methods.samplers.clustering`.

    References:
        Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization, ICML 2022,
        https://arxiv.org/abs/2205.14959.
    """
    synthetic = Pixels(init or coresets.Random(), clamp=True)
    return _idc("idc_i", synthetic, ipc, iterations, batch, lr, distance, network, within)


@register
def idc(
    ipc: int = 10,
    iterations: int | None = None,
    batch: int = 64,
    lr: float | None = None,
    distance: str | None = None,
    factor: int | None = None,
    init: coresets.Init | None = None,
    network: Any = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """IDC: every stored sample is a grid of smaller ones, matched as in `idc_i`.

    Args:
        ipc, iterations, batch, lr, distance, network, within: see `idc_i`.
        factor: the grid is factor x factor; 2 as published (3 for images of 224 pixels), 1 for vectors.
        init: what the grids are made of at the start; random real samples, made small.

    References:
        Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization, ICML 2022,
        https://arxiv.org/abs/2205.14959, section 4.
    """
    synthetic = MultiFormation(
        Pixels(init or coresets.Random(), clamp=True), DefaultFactor() if factor is None else factor
    )
    return _idc("idc", synthetic, ipc, iterations, batch, lr, distance, network, within)


def _idc(
    name: str,
    synthetic: Pixels | MultiFormation,
    ipc: int,
    iterations: int | None,
    batch: int,
    lr: float | None,
    distance: str | None,
    network: Any,
    within: BatchSelection | None,
) -> Recipe:
    term = Term(
        Gradient(distance or IDCDistance(), "conv"),
        TrainedOnReal(network or DefaultNetwork(), samples=IDCSamples()),
        PerGroup(batch, synthetic=128, within=within),
        SiameseAugment(DefaultDSAOps(("crop",)), ("color", "cutout")),
    )
    return Recipe(
        name=name,
        synthetic=synthetic,
        terms=(term,),
        optimizer=Optimizer("sgd", lr=IDCLearningRate(distance) if lr is None else lr, momentum=0.5),
        iterations=DefaultIterations(200_000) if iterations is None else iterations,
        ipc=ipc,
        step_per="class",
        training=idc_training(),
        paper="Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization, ICML 2022, "
        "arXiv:2205.14959",
        deviations="Values are kept in [0, 1] after every step, not every 100. One set of choices for all gray images "
        "(that for Fashion-MNIST, also for MNIST, where the authors leave cut-out and CutMix away) and one for all "
        "others. The smaller samples that a grid begins with are averages over areas.",
    )


def _distance_of(facts: DatasetInfo) -> str:
    return "l1" if len(facts.sample_shape) == 3 and facts.sample_shape[0] == 1 else "mse"


@dataclass(frozen=True)
class IDCDistance(DataDefault):
    """IDC's distance: "l1" for gray images (published for MNIST and Fashion-MNIST), else "mse"."""

    def __call__(self, facts: DatasetInfo) -> str:
        return _distance_of(facts)


@dataclass(frozen=True)
class IDCSamples(DataDefault):
    """Real samples that IDC's network is trained on between two iterations: 500 for gray images, else 2,000.

    Published: 500 for MNIST, Fashion-MNIST and SVHN, 2,000 for CIFAR.
    """

    def __call__(self, facts: DatasetInfo) -> int:
        return 500 if _distance_of(facts) == "l1" else 2000


@dataclass(frozen=True)
class IDCLearningRate(DataDefault):
    """IDC's learning rate for values in [0, 1]: 1e-4 ("l1") or 5e-3, times ipc / 10 and (values of a channel) / 32^2.

    Args:
        distance: None for that of `IDCDistance`.
    """

    distance: str | None = None

    def __call__(self, facts: DatasetInfo) -> float:
        base = 1e-4 if (self.distance or _distance_of(facts)) == "l1" else 5e-3
        return base * facts.ipc / 10 * prod(facts.sample_shape[1:]) / 32**2
