"""Methods that match distributions through networks between initial and trained weights: DANCE, NCFM."""

from __future__ import annotations

from dataclasses import dataclass, replace

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.base import Objective
from condensed_data.methods.objectives import CharacteristicFunction, CrossEntropy, Distribution
from condensed_data.methods.pools import DefaultNetwork, Pretrained
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.synthetic import DefaultFactor, MultiFormation, Pixels
from condensed_data.networks import NetworkLike
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.protocol import idc as idc_training

__all__ = ["dance", "ncfm"]


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
        training=idc_training(),
        paper="Zhang H. et al., DANCE: Dual-View Distribution Alignment for Dataset Condensation, IJCAI 2024, "
        "arXiv:2406.01063",
        deviations="One step for both terms; the authors step class by class, and for one term after the other. They "
        "train evaluation networks for 1,500 epochs; here these are IDC's 1,000.",
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
        training=idc_training(),
        paper="Wang S. et al., Dataset Distillation with Neural Characteristic Function: A Minmax Perspective, CVPR "
        "2025, arXiv:2502.20653",
        deviations="One step for both terms and all classes. The learning rate is constant; the authors halve it when "
        "the loss stops decreasing. They train evaluation networks for 2,000 epochs with AdamW; here IDC's protocol "
        "is used.",
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
