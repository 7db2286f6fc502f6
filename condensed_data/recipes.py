"""The methods: one short function each, a composition of parts with its citation and its deviations.

`dataclasses.replace`, or `Recipe.set`, edits what a function returns; `names` lists the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from condensed_data import coresets
from condensed_data.augment import Identity, PublishedOps, Siamese
from condensed_data.clusters import Within
from condensed_data.evaluation.evaluate import standard
from condensed_data.learning.descent import Descent
from condensed_data.learning.pretraining import Pretraining
from condensed_data.objectives import Distribution, Gradient
from condensed_data.pools import Fresh, Retrained, UsualNetwork
from condensed_data.pools.retrained import NetworksOfSweeps
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


def random(ipc: int = 10) -> Recipe:
    """Random real samples of each class: the baseline that every method must beat."""
    return _coreset("random", ipc, coresets.Random(spread=0), "the baseline")


def herding(ipc: int = 10, features: Any = "trained") -> Recipe:
    """Herding: real samples whose mean feature follows that of their class.

    Args:
        ipc: samples per class.
        features: "trained" (a network trained on the data), "raw", or an extractor.

    References:
        Welling, Herding Dynamical Weights to Learn, ICML 2009; Rebuffi et al., iCaRL, CVPR 2017.
    """
    return _coreset(
        "herding", ipc, coresets.Herding(features), "Welling, ICML 2009; Rebuffi et al., CVPR 2017"
    )


def k_center(ipc: int = 10, features: Any = "trained") -> Recipe:
    """Greedy k-centre: each next sample is the farthest from those chosen; the first is nearest the class mean.

    Args:
        ipc: samples per class.
        features: see `herding`.

    References:
        Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018.
    """
    return _coreset(
        "k_center", ipc, coresets.KCenter(features), "Sener and Savarese, ICLR 2018, arXiv:1708.00489"
    )


def k_means(ipc: int = 10, features: Any = "trained") -> Recipe:
    """The real samples nearest to the k-means centroids of their class.

    Args:
        ipc: samples per class.
        features: see `herding`.

    References:
        Cui et al., DC-BENCH: Dataset Condensation Benchmark, NeurIPS 2022, https://arxiv.org/abs/2207.09639.
    """
    return _coreset("k_means", ipc, coresets.KMeans(features), "Cui et al., NeurIPS 2022, arXiv:2207.09639")


def forgetting(ipc: int = 10, epochs: int = 200) -> Recipe:
    """The samples that a network forgets most often while it is trained.

    Args:
        ipc: samples per class.
        epochs: of that training.

    References:
        Toneva et al., An Empirical Study of Example Forgetting, ICLR 2019, https://arxiv.org/abs/1812.05159.
    """
    init = coresets.Forgetting(pretrain=Pretraining(epochs=epochs))
    return _coreset("forgetting", ipc, init, "Toneva et al., ICLR 2019, arXiv:1812.05159")


def _coreset(name: str, ipc: int, init: coresets.Init, paper: str) -> Recipe:
    return Recipe(name=name, synthetic=Pixels(init), ipc=ipc, paper=paper)


_RECIPES: dict[str, Callable[..., Recipe]] = {
    function.__name__: function for function in (dc, dm, dsa, forgetting, herding, k_center, k_means, random)
}


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
