"""Methods that compare gradients of the loss."""

from __future__ import annotations

from typing import Any

from condensed_data import coresets
from condensed_data.augment import Identity, PublishedOps, Siamese
from condensed_data.clusters import Within
from condensed_data.evaluation.evaluate import standard
from condensed_data.learning.descent import Descent
from condensed_data.objectives import Gradient
from condensed_data.pools import Retrained, UsualNetwork
from condensed_data.pools.retrained import NetworksOfSweeps
from condensed_data.recipe import Optimizer, Recipe, Term
from condensed_data.samplers import ByGroup
from condensed_data.synthetic import Pixels


def dc(
    ipc: int = 10,
    sweeps: int | None = None,
    batch: int = 256,
    lr: float = 0.1,
    distance: str = "rows_cosine",
    init: coresets.Init | None = None,
    network: Any = None,
    within: Within | None = None,
) -> Recipe:
    """Gradient matching: per class, the gradients of the loss on real and on synthetic samples.

    Args:
        ipc: synthetic samples per class.
        sweeps: matching steps; 1,000 networks of `ipc` steps each (at most 50), fewer for small sources.
        batch: real samples per class and step.
        lr: of SGD with momentum 0.5; the authors use 0.01 where the matching network is an MLP.
        distance: "rows_cosine" (the paper's), "mse", "cosine" or "l1".
        init: where the samples begin; noise.
        network: matching network; by default a ConvNet for images, its 1-D twin for signals, an MLP for vectors.
        within: draws real batches from clusters, see `condensed_data.clusters`.

    References:
        Zhao, Mopuri and Bilen, Dataset Condensation with Gradient Matching, ICLR 2021,
        https://arxiv.org/abs/2006.05929, algorithm 1.
    """
    pool = Retrained(network or UsualNetwork())
    return _matching(
        "dc",
        ipc,
        sweeps,
        lr,
        init or coresets.Noise(),
        Term(Gradient(distance), pool, ByGroup(batch, within=within), Identity()),
        "Zhao, Mopuri and Bilen, Dataset Condensation with Gradient Matching, ICLR 2021, arXiv:2006.05929",
    )


def dsa(
    ipc: int = 10,
    sweeps: int | None = None,
    batch: int = 256,
    lr: float = 0.1,
    distance: str = "rows_cosine",
    init: coresets.Init | None = None,
    network: Any = None,
    within: Within | None = None,
) -> Recipe:
    """Gradient matching under siamese augmentation: DC, with the same random operation on both sides.

    Args:
        ipc, sweeps, batch, lr, distance, network, within: see `dc`.
        init: where the samples begin; random real ones.

    References:
        Zhao and Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021,
        https://arxiv.org/abs/2102.08259.
    """
    descent = Descent(augment=Siamese(PublishedOps(), per_sample=True))
    pool = Retrained(network or UsualNetwork(), descent=descent)
    return _matching(
        "dsa",
        ipc,
        sweeps,
        lr,
        init or coresets.Random(),
        Term(Gradient(distance), pool, ByGroup(batch, within=within), Siamese(PublishedOps())),
        "Zhao and Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021, arXiv:2102.08259",
    )


def _matching(
    name: str, ipc: int, sweeps: int | None, lr: float, init: coresets.Init, term: Term, paper: str
) -> Recipe:
    """What DC and DSA share."""
    return Recipe(
        name=name,
        synthetic=Pixels(init),
        terms=(term,),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.5),
        sweeps=NetworksOfSweeps() if sweeps is None else sweeps,
        ipc=ipc,
        training=standard(augment=name != "dc"),
        paper=paper,
        deviations="One backward for all classes, as in the authors' code; the paper steps class by class.",
    )
