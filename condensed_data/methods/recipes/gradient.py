"""Methods that match gradients of the training loss: DC, DSA, IDC."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import Gradient
from condensed_data.methods.pools import DefaultNetwork, OuterLoopLength, TrainedOnReal, TrainedOnSynthetic
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.synthetic import DefaultFactor, MultiFormation, Pixels
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols
from condensed_data.training.sgd import SGDConfig

__all__ = ["dc", "dsa", "idc", "idc_i"]


@register
def dc(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 256,
    lr: float = 0.1,
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
        lr: learning rate of SGD with momentum 0.5; the authors use 0.01 if the matching network is an MLP.
        distance: "rows_cosine" (the paper's), "mse", "cosine" or "l1".
        init: initial samples; Gaussian noise by default.
        network: matching network; by default a ConvNet for images, its 1-D twin for signals, an MLP for vectors.
        within: how real batches are drawn within a class, see `condensed_data.methods.samplers.clustering`.
    """
    pool, sampler = TrainedOnSynthetic(DefaultNetwork() if network is None else network), PerGroup(batch, within=within)
    return Recipe(
        name="dc",
        synthetic=Pixels(init or coresets.Noise()),
        terms=(Term(Gradient(distance), pool, sampler, Identity()),),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.5),
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
    lr: float = 0.1,
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
    pool = TrainedOnSynthetic(DefaultNetwork() if network is None else network, sgd=sgd)
    return replace(
        recipe,
        name="dsa",
        terms=(replace(recipe.terms[0], pool=pool, augment=SiameseAugment(DefaultDSAOps())),),
        training=protocols.dsa(),
        paper="Zhao and Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, "
        "arXiv:2102.08259",
    )


@register
def idc_i(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 64,
    lr: float | None = None,
    distance: str | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """IDC without multi-formation: gradients of convolutions in networks trained on real samples.

    Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959.

    Args:
        ipc, batch, within: see `dc`.
        iterations: 2,000 networks of 100 iterations each; proportionally fewer for less than 50,000 samples.
        lr: learning rate of SGD with momentum 0.5, for values in [0, 1]; by default as published for this distance,
            number of samples per class and sample size.
        distance: "l1" (published for MNIST and Fashion-MNIST) or "mse" (for color images); by default chosen by the
            number of channels.
        init: initial samples; random real ones by default.
        network: matching network with convolutions; by default as in `dc`.
    """
    term = Term(
        Gradient(distance or IDCDistance(), "conv"),
        TrainedOnReal(DefaultNetwork() if network is None else network, samples=IDCSamples()),
        PerGroup(batch, synthetic=128, within=within),
        SiameseAugment(DefaultDSAOps(("crop",)), ("color", "cutout")),
    )
    return Recipe(
        name="idc_i",
        synthetic=Pixels(init or coresets.Random(), clamp=True),
        terms=(term,),
        optimizer=Optimizer("sgd", lr=IDCLearningRate(distance) if lr is None else lr, momentum=0.5),
        iterations=DefaultIterations(200_000) if iterations is None else iterations,
        ipc=ipc,
        step_per="class",
        training=protocols.idc_i(),
        paper="Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization, ICML 2022, "
        "arXiv:2205.14959",
        deviations="Values are clamped to [0, 1] after every step, not every 100. One group of settings for grayscale "
        "images (those of Fashion-MNIST; for MNIST the authors use no cutout and no CutMix) and one for all others. "
        "Initial cells of a grid are downsampled by averaging areas.",
    )


@register
def idc(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 64,
    lr: float | None = None,
    distance: str | None = None,
    factor: int | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """IDC: every stored sample is a grid of smaller ones, matched as in `idc_i`.

    Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959, section 4.

    Args:
        ipc, iterations, batch, lr, distance, network, within: see `idc_i`.
        factor: the grid is factor x factor; by default 2 (the authors use 3 for images of 224 pixels), 1 for vectors.
        init: initial samples of the grids, downsampled; random real ones by default.
    """
    recipe = idc_i(ipc, iterations, batch, lr, distance, init, network, within)
    grids = MultiFormation(recipe.synthetic, DefaultFactor() if factor is None else factor)
    return replace(recipe, name="idc", synthetic=grids, training=protocols.idc())


@dataclass(frozen=True)
class NetworkLifetimes(DataDefault):
    """Iterations of DC and DSA: 1,000 networks times `OuterLoopLength`, and proportionally fewer for small sources."""

    networks: DefaultIterations = field(default_factory=lambda: DefaultIterations(1000))

    def __call__(self, info: DatasetInfo) -> int:
        return self.networks(info) * OuterLoopLength()(info)


def _distance_of(info: DatasetInfo) -> str:
    return "l1" if len(info.sample_shape) == 3 and info.sample_shape[0] == 1 else "mse"


@dataclass(frozen=True)
class IDCDistance(DataDefault):
    """IDC's distance: "l1" for grayscale images (published for MNIST and Fashion-MNIST), else "mse"."""

    def __call__(self, info: DatasetInfo) -> str:
        return _distance_of(info)


@dataclass(frozen=True)
class IDCSamples(DataDefault):
    """Real samples that IDC's network is trained on between two iterations: 500 for grayscale images, else 2,000.

    Published: 500 for MNIST, Fashion-MNIST and SVHN, 2,000 for CIFAR.
    """

    def __call__(self, info: DatasetInfo) -> int:
        return 500 if _distance_of(info) == "l1" else 2000


@dataclass(frozen=True)
class IDCLearningRate(DataDefault):
    """IDC's learning rate for values in [0, 1]: 1e-4 ("l1") or 5e-3, times ipc / 10 and (values of a channel) / 32^2.

    Args:
        distance: None for the one that `IDCDistance` chooses.
    """

    distance: str | None = None

    def __call__(self, info: DatasetInfo) -> float:
        base = 1e-4 if (self.distance or _distance_of(info)) == "l1" else 5e-3
        return base * info.ipc / 10 * prod(info.sample_shape[1:]) / 32**2
