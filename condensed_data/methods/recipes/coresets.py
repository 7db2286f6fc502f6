"""Coresets: methods that select real samples and learn nothing."""

from __future__ import annotations

from typing import Any

from condensed_data.core.annotations import Count
from condensed_data.methods import coresets
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.synthetic import Pixels
from condensed_data.training.pretraining import Pretraining

__all__ = ["forgetting", "herding", "k_center", "k_means", "random"]


@register
def random(ipc: Count = 10) -> Recipe:
    """Random real samples of each class: the baseline that every method must beat."""
    return _coreset("random", ipc, coresets.Random(spread=0), "the baseline")


@register
def herding(ipc: Count = 10, features: Any = "trained") -> Recipe:
    """Herding: real samples whose mean feature stays close to that of their class.

    Welling, Herding Dynamical Weights to Learn, ICML 2009; Rebuffi et al., iCaRL, CVPR 2017.

    Args:
        ipc: samples per class.
        features: "trained" (embeddings of a network trained on the data), "raw" (the values themselves), or an
            extractor.
    """
    return _coreset("herding", ipc, coresets.Herding(features), "Welling, ICML 2009; Rebuffi et al., CVPR 2017")


@register
def k_center(ipc: Count = 10, features: Any = "trained") -> Recipe:
    """Greedy k-center: start nearest to the class mean, then add the sample farthest from those selected.

    Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018.

    Args:
        ipc, features: see `herding`.
    """
    return _coreset("k_center", ipc, coresets.KCenter(features), "Sener and Savarese, ICLR 2018, arXiv:1708.00489")


@register
def k_means(ipc: Count = 10, features: Any = "trained") -> Recipe:
    """k-means: the real samples nearest to the centroids of their class.

    Cui et al., DC-BENCH: Dataset Condensation Benchmark, NeurIPS 2022, https://arxiv.org/abs/2207.09639.

    Args:
        ipc, features: see `herding`.
    """
    return _coreset("k_means", ipc, coresets.KMeans(features), "Cui et al., NeurIPS 2022, arXiv:2207.09639")


@register
def forgetting(ipc: Count = 10, epochs: int = 200) -> Recipe:
    """Forgetting: the real samples that a network forgets most often during training.

    Toneva et al., An Empirical Study of Example Forgetting, ICLR 2019, https://arxiv.org/abs/1812.05159.

    Args:
        ipc: samples per class.
        epochs: training epochs of that network.
    """
    init = coresets.Forgetting(pretrain=Pretraining(epochs=epochs))
    return _coreset("forgetting", ipc, init, "Toneva et al., ICLR 2019, arXiv:1812.05159")


def _coreset(name: str, ipc: int, init: coresets.Init, paper: str) -> Recipe:
    return Recipe(name=name, synthetic=Pixels(init), ipc=ipc, paper=paper)
