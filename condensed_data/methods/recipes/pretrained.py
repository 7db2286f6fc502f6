"""Methods that compare distributions through networks trained on the real data, or by more than their means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
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
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.protocol import idc as idc_training

__all__ = ["dance", "iid", "ncfm"]

# Published for the two bases: weights of centralization and of covariance matching.
_IID_WEIGHTS = {"dm": (0.05, 0.01), "idm": (0.01, 0.03)}


@register
def iid(
    base: str = "dm",
    ipc: int = 10,
    centralization: Centralization | None = None,
    centralization_weight: float | None = None,
    covariance_weight: float | None = None,
    extractor: Any = "resnet18",
    pretrain: Pretraining | None = None,
    stop: EarlyStopping | None = EarlyStopping(),  # noqa: B008  # frozen
    **options: Any,
) -> Recipe:
    """IID: distribution matching, with samples drawn to the center of their class and features related as in real data.

    Args:
        base: "dm" or "idm".
        ipc: synthetic samples stored per class; DM needs at least two, because the covariance of one sample is zero.
        centralization: its form; the paper's exponential one, or `Centralization(form="simplified")`.
        centralization_weight: 0.05 on DM, 0.01 on IDM; 0 leaves the term out.
        covariance_weight: 0.01 on DM, 0.03 on IDM; 0 leaves the term out.
        extractor: network whose embeddings are drawn together, trained on the real data.
        pretrain: how many of them and how long: 20 networks for 40 epochs; the authors draw from 1,000 checkpoints.
        stop: ends the run where the loss has come to rest; None for all iterations.
        options: of the base.

    References:
        Deng et al., Exploiting Inter-sample and Inter-feature Relations in Dataset Distillation, CVPR 2024,
        https://arxiv.org/abs/2404.00563.

    Raises:
        ValueError: for another base; for ipc=1 on DM.
    """
    if base not in _IID_WEIGHTS:
        raise ValueError(f"iid(base={base!r}) is not published; use {' or '.join(map(repr, _IID_WEIGHTS))}.")
    if base == "dm" and ipc == 1:
        raise ValueError(
            "iid(base='dm', ipc=1) has one sample per class: its covariance is zero and it is its own center, so "
            "neither term could teach anything. Use base='idm', which decodes several samples from each, or ipc=2."
        )
    recipe = get(base, ipc=ipc, **options)
    first, (centring, relating) = recipe.terms[0], _IID_WEIGHTS[base]
    centring = centring if centralization_weight is None else centralization_weight
    relating = relating if covariance_weight is None else covariance_weight
    terms = recipe.terms
    if relating:
        terms += (replace(first, objective=Covariance(relating)),)
    if centring:
        trained = Pretrained(extractor, pretrain or Pretraining(epochs=40, networks=20))
        drawn = replace(first, objective=centralization or Centralization(), pool=trained, weight=centring)
        terms += (drawn,)
    return replace(
        recipe,
        name=f"iid_{base}",
        terms=terms,
        stop=stop,
        paper="Deng et al., Exploiting Inter-sample and Inter-feature Relations in Dataset Distillation, CVPR 2024, "
        f"arXiv:2404.00563; on {recipe.paper}",
        deviations=f"{recipe.deviations} Centers are those of the synthetic samples, as in the authors' code, which "
        "also leaves the exponential and beta away (form='simplified'). 20 extractors instead of 1,000 checkpoints. "
        "Without a number in the paper for when it has converged, the run ends when its loss rests.",
    )


@register
def dance(
    ipc: int = 10,
    iterations: int | None = None,
    batch: int = 128,
    lr: float | None = None,
    factor: int | None = None,
    init: coresets.Init | None = None,
    network: Any = None,
    pretrain: Pretraining | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """DANCE: distribution matching by networks on the way between their initial and their trained weights.

    Args:
        ipc: synthetic samples stored per class; each is a grid of factor x factor training samples.
        iterations: 10,000, and proportionally fewer for sources of less than 50,000 samples.
        batch: real samples per class and step.
        lr: of SGD with momentum 0.5, for values in [0, 1]; 0.01 times the samples per class.
        factor: of the grids; 2, and 1, for none, with vectors.
        init: what the samples are made of at the start; random real ones, made small.
        network: matching network; by default a ConvNet, or its 1-D twin for signals.
        pretrain: 20 networks for 60 epochs.
        within: draws real batches from clusters, see `condensed_data.methods.samplers.clustering`.

    References:
        Zhang H. et al., DANCE: Dual-View Distribution Alignment for Dataset Condensation, IJCAI 2024,
        https://arxiv.org/abs/2406.01063.
    """
    return Recipe(
        name="dance",
        synthetic=MultiFormation(
            Pixels(init or coresets.Random(), clamp=True), DefaultFactor() if factor is None else factor
        ),
        terms=_calibrated(Term(Distribution(), *_middle(network, pretrain, batch, within))),
        optimizer=Optimizer("sgd", lr=ProportionalToIpc(0.01) if lr is None else lr, momentum=0.5),
        iterations=DefaultIterations(10_000) if iterations is None else iterations,
        ipc=ipc,
        training=idc_training(),
        paper="Zhang H. et al., DANCE: Dual-View Distribution Alignment for Dataset Condensation, IJCAI 2024, "
        "arXiv:2406.01063",
        deviations="Both terms step together; the authors step class by class, and for one term after the other. They "
        "train on their sets for 1,500 epochs, here for IDC's 1,000.",
    )


@register
def ncfm(
    ipc: int = 10,
    iterations: int | None = None,
    batch: int = 1024,
    lr: float = 1e-3,
    sampling_lr: float = 1e-3,
    factor: int | None = None,
    init: coresets.Init | None = None,
    network: Any = None,
    pretrain: Pretraining | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """NCFM: characteristic functions of embeddings are matched where a learned sampler finds them most different.

    Args:
        ipc: synthetic samples stored per class; each is a grid of factor x factor training samples.
        iterations: 20,000, and proportionally fewer for sources of less than 50,000 samples.
        batch: real samples per class and step.
        lr: of AdamW, for values in [0, 1].
        sampling_lr: of the sampling network; 0 for normal frequencies, as in the authors' released configurations.
        factor, init, network, pretrain, within: see `dance`.

    References:
        Wang S. et al., Dataset Distillation with Neural Characteristic Function: A Minmax Perspective, CVPR 2025,
        https://arxiv.org/abs/2502.20653.
    """
    matched = CharacteristicFunction(sampling_lr=sampling_lr)
    return Recipe(
        name="ncfm",
        synthetic=MultiFormation(
            Pixels(init or coresets.Random(), clamp=True), DefaultFactor() if factor is None else factor
        ),
        terms=_calibrated(Term(matched, *_middle(network, pretrain, batch, within), 300.0)),
        optimizer=Optimizer("adamw", lr=lr),
        iterations=DefaultIterations() if iterations is None else iterations,
        ipc=ipc,
        training=idc_training(),
        paper="Wang S. et al., Dataset Distillation with Neural Characteristic Function: A Minmax Perspective, CVPR "
        "2025, arXiv:2502.20653",
        deviations="Both terms step together, and all classes at once. The learning rate stays; the authors halve it "
        "when the loss rests. They train on their sets for 2,000 epochs with AdamW, here by IDC's protocol.",
    )


def _middle(
    network: Any, pretrain: Pretraining | None, batch: int, within: BatchSelection | None
) -> tuple[Pretrained, PerGroup, SiameseAugment]:
    """Pool, sampler and augmentation of a term that looks through interpolated networks."""
    trained = pretrain or Pretraining(epochs=60, networks=20)
    return (
        Pretrained(network or DefaultNetwork(), trained, "dance"),
        PerGroup(batch, synthetic=128, within=within),
        SiameseAugment(DefaultDSAOps(("crop",)), ("color", "cutout")),
    )


def _calibrated(term: Term) -> tuple[Term, Term]:
    """The term, and the cross-entropy under the trained end of its networks."""
    assert isinstance(term.pool, Pretrained)
    return term, replace(
        term, objective=CrossEntropy(), pool=replace(term.pool, interpolate=None), weight=1.0
    )


@dataclass(frozen=True)
class ProportionalToIpc(DataDefault):
    """A number for each sample per class.

    Args:
        value: at one sample per class.
    """

    value: float

    def __call__(self, facts: DatasetInfo) -> float:
        return self.value * facts.ipc
