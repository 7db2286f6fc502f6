"""FRePo: ridge regression on the features of networks that are trained on the synthetic samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from condensed_data import networks
from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, Identity
from condensed_data.data.whitening import MAX_VALUES
from condensed_data.methods import coresets
from condensed_data.methods.objectives import RidgeRegression
from condensed_data.methods.pools import Online
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.published import Published, SettingsTable
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.methods.synthetic import Pixels, WithScores
from condensed_data.networks import ConvNet, DoublingConvNet, NetworkLike
from condensed_data.training.protocols import frepo as frepo_training

__all__ = ["frepo"]

# From the authors' code, which decides by dataset alone except for CIFAR-100 and Tiny-ImageNet.
SettingsTable(
    "frepo",
    ("mirror",),
    {
        ("mnist", 1): (False,),
        ("mnist", 10): (False,),
        ("mnist", 50): (False,),
        ("fashion-mnist", 1): (False,),
        ("fashion-mnist", 10): (False,),
        ("fashion-mnist", 50): (False,),
        ("cifar10", 1): (True,),
        ("cifar10", 10): (True,),
        ("cifar10", 50): (True,),
        ("cifar100", 1): (True,),
        ("cifar100", 10): (False,),
        ("cifar100", 50): (False,),
        ("tiny-imagenet", 1): (True,),
        ("tiny-imagenet", 10): (False,),
        ("imagenet-subset", 1): (True,),
        ("imagenet-subset", 10): (True,),
    },
)


@dataclass(frozen=True)
class Mirrored(DataDefault):
    """Whether FRePo regresses on mirror images: as published, but not for characters (SVHN), signals and vectors."""

    published: DataDefault = field(default=Published("frepo", "mirror"))

    def __call__(self, info: DatasetInfo) -> bool:
        return "flip" in DefaultDSAOps()(info) and bool(self.published(info))


@dataclass(frozen=True)
class DoublingNetwork(DataDefault):
    """FRePo's network for images, of the default depth for their size; else the default network."""

    def __call__(self, info: DatasetInfo) -> Any:
        found = networks.default_network(info.sample_shape)
        return DoublingConvNet(depth=found.depth, norm="batch") if isinstance(found, ConvNet) else found


@dataclass(frozen=True)
class WhitenedColor(DataDefault):
    """ZCA for color images that are small enough: FRePo whitens all but MNIST and Fashion-MNIST."""

    def __call__(self, info: DatasetInfo) -> str:
        shape = info.sample_shape
        return "zca" if len(shape) == 3 and shape[0] > 1 and math.prod(shape) <= MAX_VALUES else "none"


@register
def frepo(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 1024,
    lr: float = 3e-4,
    mirror: bool | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    whitening: str | None = None,
) -> Recipe:
    """FRePo: real samples are predicted by ridge regression on the synthetic ones' features, whose labels are learned.

    Zhou, Nezhadarya and Ba, NeurIPS 2022, https://arxiv.org/abs/2206.00719, algorithm 1, and the authors' code.

    The features are those of ten networks that are trained on the synthetic samples all along, each for up to 100
    steps. Published for Fashion-MNIST: 75.6, 86.2 and 89.6 % at 1, 10 and 50 samples per class, with
    `network="doubling"` trained by the protocol "frepo". The labels are scores (`WithScores`).

    Args:
        ipc: synthetic samples per class.
        iterations: optimization steps; 500,000, and proportionally fewer for sources of less than 50,000 samples.
        batch: real samples per step, from all classes.
        lr: of LAMB: the change of all samples, and of all labels, in a step, relative to their norm; half a cosine
            brings it to a tenth by the last step.
        mirror: regress on mirror images as well; by default as published for such data.
        init: initial samples; random real ones by default.
        network: by default `DoublingConvNet` for images, with batch normalization.
        whitening: "zca" or "none"; by default "zca" for small color images.
    """
    objective = RidgeRegression(mirror=Mirrored() if mirror is None else mirror)
    pool = Online(DoublingNetwork() if network is None else network)
    return Recipe(
        name="frepo",
        synthetic=WithScores(Pixels(init or coresets.Random())),
        terms=(Term(objective, pool, TrainingSteps(steps=1, batch=batch), Identity()),),
        optimizer=Optimizer("lamb", lr=lr, final=0.1),
        iterations=DefaultIterations(500_000) if iterations is None else iterations,
        ipc=ipc,
        whitening=WhitenedColor() if whitening is None else whitening,
        training=frepo_training(),
        paper="Zhou, Nezhadarya and Ba, Dataset Distillation using Neural Feature Regression, NeurIPS 2022, "
        "arXiv:2206.00719",
        deviations="Every real batch is drawn from all samples, so a pass may repeat and omit some. The last iterate "
        "is the result; the authors take the one of best test accuracy, measured every 10,000 iterations. ZCA adds 1.6 "
        "to the eigenvalues, as in mtt, theirs a tenth of their mean (0.1); images of more than 5,000 values are not "
        "whitened.",
    )
