"""Methods that match distributions of embeddings under random, or partly trained, networks: DM, IDM, M3D."""

from __future__ import annotations

from condensed_data.core.annotations import Count, Natural, NonNegative
from condensed_data.core.spec import DataDefault
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import CrossEntropy, Distribution, KernelMMD
from condensed_data.methods.pools import DefaultNetwork, Queue, RandomInit
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.published import Published, SettingsTable
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.synthetic import DefaultFactor, MultiFormation, Pixels
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols

__all__ = ["dm", "idm", "m3d"]


SettingsTable(
    "dm",
    ("lr",),
    {(dataset, ipc): (1.0,) for dataset in ("mnist", "cifar10", "cifar100", "tiny-imagenet") for ipc in (1, 10, 50)}
    | {("cifar100", ipc): (1.0,) for ipc in (100, 125)}
    | {("cifar10", ipc): (10.0,) for ipc in (100, 200, 500, 1000, 1250)},
)
# From the authors' list of commands, and the defaults of their code. A batch of 5,000 is a whole class.
SettingsTable(
    "idm",
    ("calibration", "batch", "interval", "capacity", "steps", "reset"),
    {
        ("cifar10", 1): (0.5, 5000, 5, 100, 10, 100),
        ("cifar10", 10): (0.5, 256, 30, 100, 10, 100),
        ("cifar10", 50): (0.1, 256, 30, 100, 10, 500),
        ("cifar100", 1): (0.5, 5000, 5, 100, 10, 100),
        ("cifar100", 10): (0.1, 256, 30, 100, 50, 100),
        ("cifar100", 50): (0.1, 256, 30, 100, 10, 500),
        ("tiny-imagenet", 1): (0.5, 256, 30, 100, 10, 100),
        ("tiny-imagenet", 10): (0.5, 256, 30, 100, 10, 500),
        ("tiny-imagenet", 50): (0.8, 256, 30, 100, 50, 1000),
        ("imagenet-subset", 1): (3.0, 128, 50, 50, 10, 200),
        ("imagenet-subset", 10): (3.0, 128, 50, 50, 10, 1000),
        ("imagenet-subset", 50): (3.0, 128, 50, 100, 10, 500),
    },
    {"calibration": "linear", "batch": "linear", "interval": "linear"},
)


@register
def dm(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 256,
    lr: float | None = None,
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
        lr: learning rate of SGD with momentum 0.5; 1, and 10 for CIFAR-10 from 100 samples per class on.
        init: initial samples; random real ones by default.
        network: matching network; by default a ConvNet for images, its 1-D twin for signals, an MLP for vectors.
        within: how real batches are drawn within a class, see `condensed_data.methods.samplers.clustering`.
    """
    pool, sampler = RandomInit(DefaultNetwork() if network is None else network), PerGroup(batch, within=within)
    return Recipe(
        name="dm",
        synthetic=Pixels(init or coresets.Random()),
        terms=(Term(Distribution(), pool, sampler, SiameseAugment(DefaultDSAOps())),),
        optimizer=Optimizer("sgd", lr=Published("dm", "lr") if lr is None else lr, momentum=0.5),
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
        iterations, network, within: see `dm`.
        batch: real samples per class and step; by default as published, such as 256, and all at one sample per class.
        lr: learning rate of SGD with momentum 0.5.
        factor: of this "partition and expansion"; by default 2, and 1 for vectors.
        calibration: weight of the cross-entropy; by default as published, such as 0.5, and 0.1 from 50 samples per
            class on, for CIFAR-10.
        init: initial training samples, downsampled; random real ones by default.
    """
    pool = Queue(
        DefaultNetwork() if network is None else network,
        interval=Published("idm", "interval"),
        capacity=Published("idm", "capacity"),
        steps=Published("idm", "steps"),
        reset=Published("idm", "reset"),
    )
    sampler = PerGroup(Published("idm", "batch") if batch is None else batch, within=within)
    augment = SiameseAugment(DefaultDSAOps())
    weight = Published("idm", "calibration") if calibration is None else calibration
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
        deviations="An iteration uses one network, as in the authors' commands. For ImageNet subsets, the authors "
        "train the queue on batches of 128 (here 256) and match with a ConvNet-6.",
    )


@register
def m3d(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 256,
    lr: float = 1.0,
    kernel: str = "gaussian",
    weight: NonNegative | None = None,
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
        weight: of the loss; 20 for the Gaussian kernel, else 1.
        factor: of the grids; by default 2, and 1 (no grid) for vectors.
        init: initial training samples, downsampled; random real ones by default.
    """
    pool, sampler = RandomInit(DefaultNetwork() if network is None else network), PerGroup(batch, within=within)
    if weight is None:
        weight = 20.0 if kernel == "gaussian" else 1.0  # a Gaussian is at most 1; the same learning rate fits both
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
        deviations="The authors' repository is empty. The Gaussian kernel is that of an M3DLoss in repositories of "
        "later methods; its weight of 20 and the learning rate are ours (weight=1 is the plain loss). Every iteration "
        "uses a new network; in the paper, a network is used for several.",
    )
