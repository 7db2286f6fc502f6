"""Methods that partition the real data of a base method: by clusters (BDM) or by groups (debiased condensation)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from condensed_data.core.annotations import Count
from condensed_data.methods.recipe import Recipe, Term
from condensed_data.methods.recipes.registry import get_base, register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import Clusters
from condensed_data.networks import ConvNet
from condensed_data.training.features import stage_extractor

__all__ = ["bdm", "bdm_published", "debiased"]


@register
def bdm(
    base: str | Recipe = "dc",
    ipc: Count | None = None,
    k: int = 20,
    layer: int = 1,
    features: Any = "imagenet",
    means: bool = False,
    weights: str = "size",
    **options: Any,
) -> Recipe:
    """BDM: every real batch comes from one cluster of one class; combines with any base.

    The original paper clusters the feature maps of stage 1 of an ImageNet ResNet18 and condenses as in Zhao, Mopuri
    and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929; it reports no accuracies.

    `bdm(base="dsa", k=20)` is `dsa(within=Clusters(20))` under its own name.

    Args:
        base: the name of a recipe, or a recipe, that draws its real batches by group.
        ipc: samples per class; None for the default of the base.
        k: clusters per class.
        layer: stage of the ResNet18 whose maps are clustered, 1 to 4.
        features: "imagenet", "trained" (a ResNet18 trained on the data), "raw", an extractor or any module.
        means: cluster the spatial means of the maps instead.
        weights: how often each cluster is drawn, in proportion to its "size" or "uniform"ly.
        options: further arguments of the base.
    """
    within = Clusters(k, stage_extractor(features, layer, means), weights)
    recipe = _with_partition(get_base("bdm", base, ipc, options), "bdm", within=within)
    extra = (
        "Clusters are drawn in proportion to their size, and one smaller than the batch has its samples repeated up to "
        "the batch size, evenly to within one; the paper says neither (weights='uniform' draws all equally often). "
        "Images keep their own standardization instead of ImageNet's."
    )
    return replace(recipe, deviations=f"{recipe.deviations} {extra}")


@register
def bdm_published(ipc: Count = 10, features: Any = "imagenet", **options: Any) -> Recipe:
    """BDM in the setting of its original paper: DC with 20 clusters and batch normalization.

    Three blocks of 128 channels, learning rates 0.1 for samples and 0.01 for networks, 1,000 networks. The
    paper tests on an MLP, the ConvNet and a ResNet18: `condensed-data evaluate WHERE --network mlp,convnet,resnet18`.

    Args:
        ipc: synthetic samples per class.
        features: see `bdm`.
        options: further arguments of `bdm` and of `dc`, such as `weights` and `iterations`.
    """
    recipe = bdm("dc", ipc, features=features, **{"network": ConvNet(norm="batch"), **options})
    return replace(
        recipe,
        name="bdm_published",
        deviations=f"{recipe.deviations} Normalization comes before the activation, as in all ConvNets of this field; "
        "the paper lists convolution, ReLU, normalization.",
    )


@register
def debiased(base: str | Recipe = "dc", ipc: int | None = None, **options: Any) -> Recipe:
    """Debiased condensation: samples are matched by group, that is (class, attribute); combines with any base.

    The original paper condenses by gradient matching (Zhao, Mopuri and Bilen, ICLR 2021,
    https://arxiv.org/abs/2006.05929) with the batches of a class replaced by those of its groups.

    It requires `groups=` of `CondensedDataset`; the base recipe with `groups=` gives the same result.

    Args:
        base: the name of a recipe, or a recipe, that draws its real batches by group.
        ipc: samples per class, split evenly over its groups; None for the default of the base.
        options: further arguments of the base.
    """
    return _with_partition(get_base("debiased", base, ipc, options), "debiased", grouped=True)


def _with_partition(recipe: Recipe, name: str, **partition: Any) -> Recipe:
    """The recipe with these fields in each of its `PerGroup` samplers."""
    if not any(isinstance(term.sampler, PerGroup) for term in recipe.terms):
        raise ValueError(
            f"Cannot use {name} with base={recipe.name!r}: it does not draw real batches by group. Use a base that "
            "does, such as 'dm', 'dc', 'dsa', 'idc', 'idm' or 'cafe'."
        )

    def partitioned(term: Term) -> Term:
        if not isinstance(term.sampler, PerGroup):
            return term
        return replace(term, sampler=replace(term.sampler, **partition))

    return replace(recipe, name=f"{name}_{recipe.name}", terms=tuple(map(partitioned, recipe.terms)))
