"""Methods that match distributions of embeddings under random, or partly trained, networks: DM, IDM, M3D."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import CrossEntropy, Distribution, KernelMMD
from condensed_data.methods.pools import DefaultNetwork, Queue, RandomInit
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.synthetic import DefaultFactor, MultiFormation, Pixels
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols

__all__ = ["dm", "idm", "m3d"]


# A Gaussian kernel is at most 1, unlike squared distances of means; this weight (not published) makes the same learning
# rate fit both.
M3D_WEIGHT = 100.0


@register
def dm(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 256,
    lr: float = 1.0,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """Distribution matching: class means of embeddings under randomly initialized networks.

    Zhao and Bilen, WACV 2023, https://arxiv.org/abs/2110.04181, equation 4.

    Args:
        ipc: synthetic samples per class.
        iterations: optimization steps, each with a new network; 20,000, and proportionally fewer for sources of less
            than 50,000 samples.
        batch: real samples per class and step.
        lr: learning rate of SGD with momentum 0.5; the authors use 10 for CIFAR-10 at 100 samples per class and more.
        init: initial samples; random real ones by default.
        network: matching network; by default a ConvNet for images, its 1-D twin for signals, an MLP for vectors.
        within: how real batches are drawn within a class, see `condensed_data.methods.samplers.clustering`.
    """
    pool, sampler = RandomInit(DefaultNetwork() if network is None else network), PerGroup(batch, within=within)
    return Recipe(
        name="dm",
        synthetic=Pixels(init or coresets.Random()),
        terms=(Term(Distribution(), pool, sampler, SiameseAugment(DefaultDSAOps())),),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.5),
        iterations=DefaultIterations() if iterations is None else iterations,
        ipc=ipc,
        paper="Zhao and Bilen, Dataset Condensation with Distribution Matching, WACV 2023, arXiv:2110.04181",
        deviations="Augmentations and batches are drawn per class from seeded streams; the authors reseed from "
        "the clock.",
    )


@register
def idm(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int | None = None,
    lr: float = 0.2,
    factor: int | None = None,
    calibration: float | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """IDM: distribution matching with a queue of trained networks, cross-entropy, and multi-formation.

    Zhao G. et al., CVPR 2023, https://arxiv.org/abs/2307.09742.

    Args:
        ipc: samples stored per class; each is split into factor x factor training samples.
        iterations, lr, network, within: see `dm`.
        batch: real samples per class and step; 256, and 5,000 at one sample per class.
        factor: of this "partition and expansion"; by default 2, and 1 for vectors.
        calibration: weight of the cross-entropy; 0.5, and 0.1 from 50 samples per class (published for CIFAR-10).
        init: initial training samples, downsampled; random real ones by default.
    """
    pool = Queue(DefaultNetwork() if network is None else network, interval=ByIpc((1, 10), (5, 30)))
    sampler = PerGroup(ByIpc((1, 10), (5000, 256)) if batch is None else batch, within=within)
    augment = SiameseAugment(DefaultDSAOps())
    weight = ByIpc((10, 50), (0.5, 0.1)) if calibration is None else calibration
    return Recipe(
        name="idm",
        synthetic=MultiFormation(Pixels(init or coresets.Random()), DefaultFactor() if factor is None else factor),
        terms=(
            Term(Distribution(), pool, sampler, augment),
            Term(CrossEntropy(scale_by_accuracy=True), pool, sampler, augment, weight),
        ),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.5),
        iterations=DefaultIterations() if iterations is None else iterations,
        ipc=ipc,
        step_per="class",
        training=protocols.idm(),
        paper="Zhao G. et al., Improved Distribution Matching for Dataset Condensation, CVPR 2023, arXiv:2307.09742",
        deviations="Values published for 1, 10 and 50 samples per class are interpolated. An iteration uses one "
        "network, as in the authors' commands.",
    )


@dataclass(frozen=True)
class ByIpc(DataDefault):
    """A value published for some numbers of samples per class: linear between them, constant outside.

    Args:
        ipc: numbers of samples per class, increasing.
        values: one for each; if all are integers, the result is rounded to one.
    """

    ipc: tuple[int, ...]
    values: tuple[float, ...]

    def __call__(self, info: DatasetInfo) -> float:
        value = float(np.interp(info.ipc, self.ipc, self.values))
        return round(value) if all(isinstance(known, int) for known in self.values) else value


@register
def m3d(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 256,
    lr: float = 1.0,
    kernel: str = "gaussian",
    factor: int | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """M3D: all moments of the embeddings are matched through the maximum mean discrepancy.

    Zhang H. et al., AAAI 2024, https://arxiv.org/abs/2312.15927.

    Args:
        ipc: samples stored per class; each is a grid of factor x factor training samples.
        iterations, batch, lr, network, within: see `dm`.
        kernel: "gaussian", "polynomial" or "linear".
        factor: of the grids; by default 2, and 1 (no grid) for vectors.
        init: initial training samples, downsampled; random real ones by default.
    """
    pool, sampler = RandomInit(DefaultNetwork() if network is None else network), PerGroup(batch, within=within)
    weight = M3D_WEIGHT if kernel == "gaussian" else 1.0
    return Recipe(
        name="m3d",
        synthetic=MultiFormation(Pixels(init or coresets.Random()), DefaultFactor() if factor is None else factor),
        terms=(Term(KernelMMD(kernel), pool, sampler, SiameseAugment(DefaultDSAOps()), weight),),
        optimizer=Optimizer("sgd", lr=lr, momentum=0.5),
        iterations=DefaultIterations() if iterations is None else iterations,
        ipc=ipc,
        training=protocols.idc(),
        paper="Zhang H. et al., M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy, AAAI 2024, "
        "arXiv:2312.15927",
        deviations="No code was published: the kernel's widths, its weight and the learning rate are ours, and every "
        "iteration uses a new network.",
    )
