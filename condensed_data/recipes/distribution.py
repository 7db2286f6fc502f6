"""Methods that compare distributions of embeddings."""

from __future__ import annotations

from typing import Any

from condensed_data import coresets
from condensed_data.augment import PublishedOps, Siamese
from condensed_data.clusters import Within
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
    within: Within | None = None,
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
        within: draws real batches from clusters, see `condensed_data.clusters`.

    References:
        Zhao and Bilen, Dataset Condensation with Distribution Matching, WACV 2023,
        https://arxiv.org/abs/2110.04181, equation 4.
    """
    return Recipe(
        name="dm",
        synthetic=Pixels(init or coresets.Random()),
        terms=(
            Term(
                Distribution(),
                Fresh(network or UsualNetwork()),
                ByGroup(batch, within=within),
                Siamese(PublishedOps()),
            ),
        ),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.5),
        sweeps=PublishedSweeps() if sweeps is None else sweeps,
        ipc=ipc,
        paper="Zhao and Bilen, Dataset Condensation with Distribution Matching, WACV 2023, arXiv:2110.04181",
        deviations="Each class draws its own augmentation and batch from named streams instead of the clock.",
    )
