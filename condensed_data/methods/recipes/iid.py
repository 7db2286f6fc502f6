"""IID: inter-sample and inter-feature relations, two more terms for methods that match distributions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from condensed_data.core.annotations import Count
from condensed_data.methods.objectives import Centralization, Covariance
from condensed_data.methods.pools import Pretrained
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.recipes.registry import get, register
from condensed_data.methods.stopping import EarlyStopping
from condensed_data.training.pretraining import Pretraining

__all__ = ["iid"]

# The authors' weights of centralization, in the linear form, and of covariance matching, by base.
_WEIGHTS = {"dm": (0.05, 0.01), "idm": (0.01, 0.03)}
# Squared distance to the center at which the exponential form pulls as strongly as the linear one. Ten augmented real
# samples per class have medians of 3.2 to 3.6 on Fashion-MNIST and 3.3 to 4.1 on MNIST (1 and 8 at the 10th and 90th
# percentile), by ResNet18s trained on 1,000 images for 1 to 6 and 1 to 2 epochs. From 1 to 8 the exponential form pulls
# 0.96 to 1.11 times as strongly.
TYPICAL_DISTANCE = 3.0


@register
def iid(
    base: str = "dm",
    ipc: Count = 10,
    centralization: Centralization | None = None,
    centralization_weight: float | None = None,
    covariance_weight: float | None = None,
    extractor: Any = "resnet18",
    pretrain: Pretraining | None = None,
    early_stopping: EarlyStopping | None = EarlyStopping(),  # noqa: B008  # frozen
    **options: Any,
) -> Recipe:
    """IID: distribution matching with centralization of each class and covariance matching of features.

    Deng et al., CVPR 2024, https://arxiv.org/abs/2404.00563.

    Args:
        base: "dm" or "idm".
        ipc: samples stored per class; DM needs at least two, because the covariance of one sample is zero.
        centralization: the linear form of the authors' code by default; `Centralization(form="exponential")` is that of
            the paper.
        centralization_weight: for the linear form by default 0.05 on DM and 0.01 on IDM; for the exponential form these
            values divided by its slope at a squared distance of 3, which is 47 times them, so that both forms pull
            equally at typical distances. 0 removes the term.
        covariance_weight: 0.01 on DM, 0.03 on IDM; 0 removes the term.
        extractor: network, trained on the real data, whose embeddings are centralized.
        pretrain: its training; by default 20 networks for 40 epochs; the authors draw from 1,000 checkpoints.
        early_stopping: ends the run when the loss has stopped decreasing; None for all iterations.
        options: further arguments of the base.

    Raises:
        ValueError: for another base, or for ipc=1 on DM.
    """
    if base not in _WEIGHTS:
        raise ValueError(f"iid supports {' and '.join(f'base={name!r}' for name in _WEIGHTS)}, not {base!r}.")
    if base == "dm" and ipc == 1:
        raise ValueError(
            "iid(base='dm', ipc=1) has one sample per class, whose covariance is zero and which is its own center: "
            "both terms would have no effect. Use base='idm', which decodes several samples from each, or ipc=2."
        )
    recipe = get(base, ipc=ipc, **options)
    terms, first, weights = recipe.terms, recipe.terms[0], _WEIGHTS[base]
    objective = centralization or Centralization()
    published = weights[0] / objective.slope(TYPICAL_DISTANCE)
    center_weight = published if centralization_weight is None else centralization_weight
    feature_weight = weights[1] if covariance_weight is None else covariance_weight
    if feature_weight:
        terms += (replace(first, objective=Covariance(feature_weight)),)
    if center_weight:
        pool = Pretrained(extractor, pretrain or Pretraining(epochs=40, networks=20))
        terms += (replace(first, objective=objective, pool=pool, weight=center_weight),)
    return replace(
        recipe,
        name=f"iid_{base}",
        terms=terms,
        early_stopping=early_stopping,
        paper="Deng et al., Exploiting Inter-sample and Inter-feature Relations in Dataset Distillation, CVPR 2024, "
        f"arXiv:2404.00563; on {recipe.paper}",
        deviations=f"{recipe.deviations} Centralization is linear in the squared distance, as in the authors' code; "
        "the paper's form is centralization=Centralization(form='exponential'), with a weight of ours. 20 extractors "
        "instead of 1,000 (pretrain=Pretraining(40, 1000)). The authors run all iterations; here the run ends when its "
        "loss stops decreasing (early_stopping=None for all).",
    )
