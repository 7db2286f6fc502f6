"""Methods that match distributions through networks trained on the real data: IID, DANCE, NCFM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.base import Objective
from condensed_data.methods.objectives import (
    Centralization,
    CharacteristicFunction,
    Covariance,
    CrossEntropy,
    Distribution,
)
from condensed_data.methods.pools import DefaultNetwork, Pretrained
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.registry import get, register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.stopping import EarlyStopping
from condensed_data.methods.synthetic import DefaultFactor, MultiFormation, Pixels
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols
from condensed_data.training.pretraining import Pretraining

__all__ = ["dance", "iid", "ncfm"]

# Published weights of centralization and of covariance matching, by base.
_IID_WEIGHTS = {"dm": (0.05, 0.01), "idm": (0.01, 0.03)}


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
        centralization: the paper's exponential form by default; `Centralization(form="simplified")` is the other.
        centralization_weight: 0.05 on DM, 0.01 on IDM; 0 removes the term.
        covariance_weight: 0.01 on DM, 0.03 on IDM; 0 removes the term.
        extractor: network, trained on the real data, whose embeddings are centralized.
        pretrain: its training; by default 20 networks for 40 epochs; the authors draw from 1,000 checkpoints.
        early_stopping: ends the run when the loss has stopped decreasing; None for all iterations.
        options: further arguments of the base.

    Raises:
        ValueError: for another base, or for ipc=1 on DM.
    """
    if base not in _IID_WEIGHTS:
        raise ValueError(f"iid supports {' and '.join(f'base={name!r}' for name in _IID_WEIGHTS)}, not {base!r}.")
    if base == "dm" and ipc == 1:
        raise ValueError(
            "iid(base='dm', ipc=1) has one sample per class, whose covariance is zero and which is its own center: "
            "both terms would have no effect. Use base='idm', which decodes several samples from each, or ipc=2."
        )
    recipe = get(base, ipc=ipc, **options)
    terms, first, weights = recipe.terms, recipe.terms[0], _IID_WEIGHTS[base]
    center_weight = weights[0] if centralization_weight is None else centralization_weight
    feature_weight = weights[1] if covariance_weight is None else covariance_weight
    if feature_weight:
        terms += (replace(first, objective=Covariance(feature_weight)),)
    if center_weight:
        pool = Pretrained(extractor, pretrain or Pretraining(epochs=40, networks=20))
        objective = centralization or Centralization()
        terms += (replace(first, objective=objective, pool=pool, weight=center_weight),)
    return replace(
        recipe,
        name=f"iid_{base}",
        terms=terms,
        early_stopping=early_stopping,
        paper="Deng et al., Exploiting Inter-sample and Inter-feature Relations in Dataset Distillation, CVPR 2024, "
        f"arXiv:2404.00563; on {recipe.paper}",
        deviations=f"{recipe.deviations} Centers are those of the synthetic samples, as in the authors' code, which "
        "also omits the exponential and beta (form='simplified'). 20 extractors instead of 1,000 checkpoints. The "
        "paper gives no criterion for convergence; here the run ends when its loss stops decreasing.",
    )


@register
def dance(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 128,
    lr: float | None = None,
    factor: int | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    pretrain: Pretraining | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """DANCE: distribution matching under networks interpolated between their initial and their trained weights.

    Zhang H. et al., IJCAI 2024, https://arxiv.org/abs/2406.01063.

    Args:
        ipc, batch, factor, init, network, within: see `m3d`.
        iterations: 10,000, and proportionally fewer for sources of less than 50,000 samples.
        lr: learning rate of SGD with momentum 0.5, for values in [0, 1]; by default 0.01 times the samples per class.
        pretrain: training on the real data; by default 20 networks for 60 epochs.
    """
    pixels = Pixels(init or coresets.Random(), clamp=True)
    return Recipe(
        name="dance",
        synthetic=MultiFormation(pixels, DefaultFactor() if factor is None else factor),
        terms=_calibrated(Distribution(), 1.0, network, pretrain, batch, within),
        optimizer=Optimizer("sgd", lr=ProportionalToIpc(0.01) if lr is None else lr, momentum=0.5),
        iterations=DefaultIterations(10_000) if iterations is None else iterations,
        ipc=ipc,
        training=protocols.dance(),
        paper="Zhang H. et al., DANCE: Dual-View Distribution Alignment for Dataset Condensation, IJCAI 2024, "
        "arXiv:2406.01063",
        deviations="One step for both terms; the authors step class by class, and for one term after the other.",
    )


@register
def ncfm(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 1024,
    lr: float = 1e-3,
    sampling_lr: float = 1e-3,
    factor: int | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    pretrain: Pretraining | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """NCFM: characteristic functions of embeddings are matched at frequencies that maximize their difference.

    Wang S. et al., CVPR 2025, https://arxiv.org/abs/2502.20653.

    Args:
        ipc, iterations, batch, factor, init, network, within: see `m3d`.
        lr: learning rate of AdamW, for values in [0, 1].
        sampling_lr: learning rate of the sampling network; 0 for normally distributed frequencies, as in
            the authors' released configurations.
        pretrain: see `dance`.
    """
    pixels = Pixels(init or coresets.Random(), clamp=True)
    objective = CharacteristicFunction(sampling_lr=sampling_lr)
    return Recipe(
        name="ncfm",
        synthetic=MultiFormation(pixels, DefaultFactor() if factor is None else factor),
        terms=_calibrated(objective, 300.0, network, pretrain, batch, within),
        optimizer=Optimizer("adamw", lr=lr),
        iterations=DefaultIterations() if iterations is None else iterations,
        ipc=ipc,
        training=protocols.ncfm(),
        paper="Wang S. et al., Dataset Distillation with Neural Characteristic Function: A Minmax Perspective, CVPR "
        "2025, arXiv:2502.20653",
        deviations="One step for both terms and all classes. The learning rate is constant; the authors halve it when "
        "the loss stops decreasing.",
    )


def _calibrated(
    objective: Objective,
    weight: float,
    network: NetworkLike | DataDefault | None,
    pretrain: Pretraining | None,
    batch: int,
    within: BatchSelection | None,
) -> tuple[Term, Term]:
    """The objective under interpolated networks, and the cross-entropy under the same networks once trained."""
    pool = Pretrained(
        DefaultNetwork() if network is None else network, pretrain or Pretraining(epochs=60, networks=20), "dance"
    )
    augment = SiameseAugment(DefaultDSAOps(("crop",)), ("color", "cutout"))
    term = Term(objective, pool, PerGroup(batch, synthetic=128, within=within), augment, weight)
    return term, replace(term, objective=CrossEntropy(), pool=replace(pool, interpolate=None), weight=1.0)


@dataclass(frozen=True)
class ProportionalToIpc(DataDefault):
    """A value proportional to the samples per class; `value` is that at one."""

    value: float

    def __call__(self, info: DatasetInfo) -> float:
        return self.value * info.ipc
