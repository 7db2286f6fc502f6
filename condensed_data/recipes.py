"""The methods: one short function each, a composition of parts with its citation and its deviations.

`dataclasses.replace`, or `Recipe.set`, edits what a function returns; `names` lists the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from condensed_data import coresets
from condensed_data.augment import PublishedOps, Siamese
from condensed_data.evaluate import Training
from condensed_data.objectives import Distribution
from condensed_data.pools import Fresh, UsualNetwork
from condensed_data.recipe import Optimizer, PublishedSweeps, Recipe, Term
from condensed_data.samplers import ByGroup
from condensed_data.synthetic import Pixels


def dm(
    ipc: int = 10,
    sweeps: int | None = None,
    batch: int = 256,
    lr: float = 1.0,
    init: coresets.Init | None = None,
    network: Any = None,
) -> Recipe:
    """Distribution matching: class means of embeddings by new random networks.

    Args:
        ipc: synthetic samples per class.
        sweeps: optimisation steps, each with a new network; 20,000, and proportionally fewer for sources of less
            than 50,000 samples.
        batch: real samples per class and step.
        lr: of SGD with momentum 0.5; the authors use 10 for CIFAR-10 at 100 samples per class and more.
        init: where the samples begin; random real ones.
        network: matching network; by default a ConvNet for images, its 1-D twin for signals, an MLP for vectors.

    References:
        Zhao and Bilen, Dataset Condensation with Distribution Matching, WACV 2023,
        https://arxiv.org/abs/2110.04181, equation 4.
    """
    return Recipe(
        name="dm",
        synthetic=Pixels(init or coresets.Random()),
        terms=(
            Term(Distribution(), Fresh(network or UsualNetwork()), ByGroup(batch), Siamese(PublishedOps())),
        ),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.5),
        sweeps=PublishedSweeps() if sweeps is None else sweeps,
        ipc=ipc,
        paper="Zhao and Bilen, Dataset Condensation with Distribution Matching, WACV 2023, arXiv:2110.04181",
        deviations="Each class draws its own augmentation and batch from named streams instead of the clock.",
    )


def random(ipc: int = 10) -> Recipe:
    """Random real samples of each class: the baseline that every method must beat."""
    return Recipe(
        name="random",
        synthetic=Pixels(coresets.Random(spread=0)),
        ipc=ipc,
        training=Training(),
        paper="baseline",
    )


_RECIPES: dict[str, Callable[..., Recipe]] = {"dm": dm, "random": random}


def names() -> list[str]:
    """Names of all recipes."""
    return sorted(_RECIPES)


def get(name: str, **arguments: Any) -> Recipe:
    """The recipe of that name, built with these arguments.

    Raises:
        ValueError: for an unknown name; the known ones are listed.
    """
    if name not in _RECIPES:
        raise ValueError(f"Unknown recipe {name!r}. Known recipes: {', '.join(names())}.")
    return _RECIPES[name](**arguments)
