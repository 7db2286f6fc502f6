"""Methods that match distributions by networks between initial and trained weights: DANCE, NCFM."""

from __future__ import annotations

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.data.cutmix import SpatialCutMix
from condensed_data.methods import coresets
from condensed_data.methods.base import Objective
from condensed_data.methods.objectives import CharacteristicFunction, CrossEntropy, Distribution
from condensed_data.methods.pools import DefaultNetwork, Pretrained
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.published import Published, SettingsTable
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup, SyntheticPerGroup
from condensed_data.methods.samplers.clustering import BatchSelection
from condensed_data.methods.stopping import Plateau
from condensed_data.methods.synthetic import DefaultFactor, MultiFormation, Pixels
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig

__all__ = ["dance", "ncfm"]

_PUBLISHED_IPC = (1, 10, 50)
_SMALL = ("mnist", "fashion-mnist", "svhn", "cifar10", "cifar100", "tiny-imagenet")
# The authors give the learning rate as a multiple of the samples per class.
SettingsTable(
    "dance",
    ("lr", "epochs"),
    {
        **{(name, ipc): (0.01 * ipc, 60) for name in _SMALL for ipc in _PUBLISHED_IPC},
        **{("imagenet-subset", ipc): (0.1 * ipc, 80) for ipc in _PUBLISHED_IPC},
    },
    rules={"lr": "proportional"},
)
SettingsTable(
    "ncfm",
    ("optimizer", "lr", "epochs"),
    {
        ("cifar10", 1): ("adamw", 0.001, 60),
        ("cifar10", 10): ("adamw", 0.001, 60),
        ("cifar10", 50): ("adamw", 0.001, 60),
        ("cifar100", 1): ("adamw", 0.001, 60),
        ("cifar100", 10): ("sgd", 0.01, 60),
        ("cifar100", 50): ("adamw", 0.001, 60),
        ("tiny-imagenet", 1): ("adamw", 0.001, 60),
        ("tiny-imagenet", 10): ("adamw", 0.001, 60),
        ("tiny-imagenet", 50): ("adamw", 0.001, 60),
        ("imagenet-subset", 1): ("adamw", 0.001, 80),
        ("imagenet-subset", 10): ("adamw", 0.001, 80),
    },
)
_SHARED = (
    "Both terms of an iteration use the same draw of the augmentation; the authors draw twice. The cells of the first "
    "samples are averages over areas of random samples; the authors pick single pixels of the first samples of a "
    "class. Sources of less than 50,000 samples get fewer iterations in proportion: subsets of ImageNet a fourth of "
    "the authors'."
)
_REPORTED = "The authors report the best of several tests of a training; here it is the last."


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

    Zhang H. et al., IJCAI 2024, https://arxiv.org/abs/2406.01063. An iteration takes a step for each class by the
    distributions, then a step for each class by the cross-entropy, as in the authors' code.

    Args:
        ipc, batch, factor, init, network, within: see `m3d`. A step uses at most 200 decoded samples.
        iterations: 10,000, and proportionally fewer for sources of less than 50,000 samples.
        lr: learning rate of SGD with momentum 0.5, for values in [0, 1]; by default 0.01 times the samples per class,
            and 0.1 times them for subsets of ImageNet.
        pretrain: training on the real data; by default 5 networks for 60 epochs (80 for subsets of ImageNet) in
            batches of 64, with color changes and a translation of every sample, CutMix in half of the steps, and the
            learning rate times 0.2 after 2/3 and 5/6 of the epochs.
    """
    pixels = Pixels(init or coresets.Random(), clamp=True)
    trained = pretrain or _pretraining(5, Published("dance", "epochs"), 64)
    return Recipe(
        name="dance",
        synthetic=MultiFormation(pixels, DefaultFactor() if factor is None else factor),
        terms=_calibrated(Distribution(), 1.0, network, trained, PerGroup(batch, synthetic=200, within=within)),
        optimizer=Optimizer("sgd", lr=Published("dance", "lr") if lr is None else lr, momentum=0.5),
        iterations=DefaultIterations(10_000) if iterations is None else iterations,
        ipc=ipc,
        step_per="class and term",
        training=protocols.dance(),
        paper="Zhang H. et al., DANCE: Dual-View Distribution Alignment for Dataset Condensation, IJCAI 2024, "
        "arXiv:2406.01063",
        deviations=f"{_SHARED} Real samples are drawn independently in every step; the authors go through a "
        "class before they repeat a sample. 5 networks are trained; the authors train 20, and their code draws from "
        "the first 5. On subsets of ImageNet, too, these networks are trained in batches of 64; the authors use 128. "
        f"{_REPORTED}",
    )


@register
def ncfm(
    ipc: Count = 10,
    iterations: Natural | None = None,
    batch: int = 1024,
    lr: float | None = None,
    sampling_lr: float = 1e-3,
    factor: int | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    pretrain: Pretraining | None = None,
    within: BatchSelection | None = None,
) -> Recipe:
    """NCFM: characteristic functions of embeddings are matched at frequencies that maximize their difference.

    Wang S. et al., CVPR 2025, https://arxiv.org/abs/2502.20653. An iteration takes a step for each class by the
    characteristic functions, then a step for each class by the cross-entropy, as in the authors' code, which halves
    the learning rate after 500 iterations without a new lowest loss.

    Args:
        ipc, iterations, batch, factor, init, network, within: see `m3d`. A step uses all decoded samples of a class.
        lr: learning rate for values in [0, 1]; by default 0.001 of AdamW with weight decay 5e-4 (on CIFAR-100 at ten
            samples per class 0.01 of SGD with momentum 0.5).
        sampling_lr: learning rate of the sampling network; 0 for normally distributed frequencies, as in
            the authors' released configurations.
        pretrain: training on the real data; by default 20 networks for 60 epochs (80 for subsets of ImageNet) in
            batches of 128, otherwise as `dance`.
    """
    pixels = Pixels(init or coresets.Random(), clamp=True)
    trained = pretrain or _pretraining(20, Published("ncfm", "epochs"), 128)
    objective = CharacteristicFunction(sampling_lr=sampling_lr)
    return Recipe(
        name="ncfm",
        synthetic=MultiFormation(pixels, DefaultFactor() if factor is None else factor),
        terms=_calibrated(objective, 300.0, network, trained, PerGroup(batch, within=within)),
        optimizer=Optimizer(
            Published("ncfm", "optimizer"),
            lr=Published("ncfm", "lr") if lr is None else lr,
            weight_decay=5e-4,
            plateau=Plateau(),
        ),
        iterations=DefaultIterations() if iterations is None else iterations,
        ipc=ipc,
        step_per="class and term",
        training=protocols.ncfm(),
        paper="Wang S. et al., Dataset Distillation with Neural Characteristic Function: A Minmax Perspective, CVPR "
        "2025, arXiv:2502.20653",
        deviations=f"{_SHARED} The authors' code reads the same first 1,024 samples of each class in every "
        "iteration, and decodes synthetic samples up to ten steps ahead of their update. The sampling network learns "
        "with Adam and makes 4,096 frequencies; that of the authors' code, which their configurations disable, makes 4 "
        f"and learns with SGD. {_REPORTED}",
    )


def _pretraining(networks: int, epochs: DataDefault, batch: int) -> Pretraining:
    """As IDC's evaluation trains, on the real samples and with fewer operations; the same in both authors' code."""
    augment = SiameseAugment(("crop",), ("color",), per_sample=True)
    return Pretraining(epochs, networks, SGDConfig(0.01, 0.9, 5e-4, batch, augment, SpatialCutMix()), (2 / 3, 5 / 6))


def _calibrated(
    objective: Objective,
    weight: float,
    network: NetworkLike | DataDefault | None,
    pretrain: Pretraining,
    pairs: PerGroup,
) -> tuple[Term, Term]:
    """The objective under interpolated networks, and the cross-entropy under the same networks once trained."""
    pool = Pretrained(DefaultNetwork() if network is None else network, pretrain, "dance")
    augment = SiameseAugment(DefaultDSAOps(("crop",)), ("color", "cutout"))
    term = Term(objective, pool, pairs, augment, weight)
    alone, ends = SyntheticPerGroup(pairs.synthetic), Pretrained(pool.network, pretrain)
    return term, Term(CrossEntropy(), ends, alone, augment)
