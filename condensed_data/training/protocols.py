"""The evaluation protocols of the papers, by name: `protocol("dc")`, `--protocol dc`.

A protocol is named after the paper whose numbers it makes comparable, and every recipe's `training` is that of its
paper. Published accuracies differ by protocol as much as by method: a number says something beside numbers of the same
protocol only. `docs/protocols.md` shows them side by side.

All authors train networks by SGD with momentum 0.9 and weight decay 5e-4 at a rate of 0.01, unless a protocol says
otherwise. Where authors report the best of several tested epochs (IDC, DANCE, NCFM), here the last one is tested, as
test data chooses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

from condensed_data.core.names import unknown_name
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment, names_digits
from condensed_data.data.cutmix import SpatialCutMix
from condensed_data.data.dc_augment import DCAugment
from condensed_data.data.frepo_augment import FRePoAugment
from condensed_data.training.protocol import Training

F = TypeVar("F", bound=Callable[..., Training])
_REGISTRY: dict[str, Callable[[], Training]] = {}
PROTOCOLS: Mapping[str, Callable[[], Training]] = MappingProxyType(_REGISTRY)


@dataclass(frozen=True)
class OnGrayDigits(DataDefault):
    """A value for grayscale images of digits, as in MNIST, and another one for all other data.

    Args:
        digits, otherwise: the values; `otherwise` may depend on the data in turn.
    """

    digits: Any
    otherwise: Any

    def __call__(self, info: DatasetInfo) -> Any:
        gray = len(info.sample_shape) == 3 and info.sample_shape[0] == 1
        digits = info.dataset == "mnist" or (info.named and names_digits(info.classes))
        return self.digits if gray and digits else self.otherwise


@dataclass(frozen=True)
class OnSVHNAtOne(DataDefault):
    """A value for SVHN at one sample per class, and another one for all other data; either may depend on the data."""

    special: Any
    otherwise: Any

    def __call__(self, info: DatasetInfo) -> Any:
        return self.special if info.dataset == "svhn" and info.ipc == 1 else self.otherwise


def register(function: F) -> F:
    """Make a protocol available by the name of its function, which needs no argument. Use as a decorator."""
    _REGISTRY[function.__name__] = function
    return function


def protocol(which: str | Training) -> Training:
    """The protocol with this name; a `Training` is returned unchanged. For others, ValueError lists the names."""
    if isinstance(which, Training):
        return which
    if not isinstance(which, str) or which not in _REGISTRY:
        raise ValueError(f"training={which!r}: {unknown_name('protocol', which, _REGISTRY)}")
    return _REGISTRY[which]()


@register
def dc() -> Training:
    """DC: Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929, and the authors' `evaluate_synset`.

    SGD for E + 1 epochs; after epoch E // 2 + 1, counted from 0, the learning rate is multiplied by 0.1 and the
    optimizer replaced, so that the momentum starts from zero again. On MNIST every sample is translated, scaled or
    rotated, for 1,000 epochs; on other data nothing is augmented, for 300. Without class names nothing is. The authors
    also augment for networks with batch normalization, by translations and noise of 0.001; here these are not treated
    apart.
    """
    augment = OnGrayDigits(DCAugment(), Identity())
    return Training("dc", epochs=OnGrayDigits(1000, 300), augment=augment)


@register
def dsa() -> Training:
    """DSA, DM: Zhao and Bilen, ICML 2021, https://arxiv.org/abs/2102.08259; WACV 2023, https://arxiv.org/abs/2110.04181.

    DC's, for 1,000 epochs, with siamese augmentation: one operation for a batch, parameters for every sample.
    """
    return Training("dsa")


@register
def quick() -> Training:
    """Not published, for small machines: DSA's protocol with 300 epochs instead of 1,000.

    Measured with random Fashion-MNIST samples, a ConvNet in bf16 and 4,000 test images: 0.1 points above "dsa" at 1
    sample per class (4 networks each) and 0.7 points below at 10 (2 networks each), which at 1 is within the noise of
    so few networks, in a third of the time at 10. A learning rate of 0.02 was not better.
    """
    return replace(dsa(), name="quick", epochs=300)


@register
def idc() -> Training:
    """IDC: Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959, and the authors' code.

    Every sample is recolored and, except for digits, flipped with probability 1/2; one of translation, scaling and
    rotation is drawn for the batch; CutMix in half of the steps, on MNIST in none. On ImageNet subsets the authors
    train 300 to 3,000 epochs, by the number of samples, and crop and resize at random instead; here they are trained as
    others.
    """
    return Training(
        "idc",
        extra_epoch=False,
        batch_size=64,
        milestones=(2 / 3, 5 / 6),
        decay=0.2,
        reset_momentum=False,
        augment=SiameseAugment(
            DefaultDSAOps(("crop", "scale", "rotate")), DefaultDSAOps(("color", "flip")), per_sample=True
        ),
        cutmix=OnGrayDigits(0.0, SpatialCutMix()),
    )


@register
def idc_i() -> Training:
    """IDC-I: as IDC, of which it is the variant without multi-formation; it mixes MNIST as well.

    On SVHN at one sample per class, squares are erased instead.
    """
    augment = SiameseAugment(
        DefaultDSAOps(("crop", "scale", "rotate")), DefaultDSAOps(("color", "flip")), per_sample=True
    )
    erased = replace(augment, always=("color", "cutout"))
    augments, cutmix = OnSVHNAtOne(erased, augment), OnSVHNAtOne(0.0, SpatialCutMix())
    return replace(idc(), name="idc_i", augment=augments, cutmix=cutmix)


@register
def idm() -> Training:
    """IDM: Zhao G. et al., CVPR 2023, https://arxiv.org/abs/2307.09742.

    DSA's, on the samples decoded from each stored one. The authors use batches of 128 on ImageNet subsets.
    """
    return replace(dsa(), name="idm")


@register
def cafe() -> Training:
    """CAFE: Wang K. et al., CVPR 2022, https://arxiv.org/abs/2203.01531, and the authors' code.

    DC's, with 600 epochs where nothing is augmented.
    """
    return replace(dc(), name="cafe", epochs=OnGrayDigits(1000, 600))


@register
def mtt() -> Training:
    """MTT: Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932.

    DSA's, at the learning rate that a run learns. By this name it is the usual 0.01; a dataset's own protocol has the
    rate learned with it.
    """
    return replace(dsa(), name="mtt")


@register
def haba(hallucinators: int = 5) -> Training:
    """HaBa: Liu S. et al., NeurIPS 2022, https://arxiv.org/abs/2210.16774, and the authors' code.

    MTT's, with one of the `hallucinators` samples of every basis in an epoch. The authors also standardize every batch,
    of training and of test, by its own mean and standard deviation; here samples are standardized once, by those of the
    source.
    """
    return replace(mtt(), name="haba", views=hallucinators)


@register
def dance() -> Training:
    """DANCE: Zhang H. et al., IJCAI 2024, https://arxiv.org/abs/2406.01063, and the authors' code.

    IDC's with 1,500 epochs, mixing MNIST as well. On ImageNet subsets the authors train 300 to 3,000 epochs, by the
    number of samples.
    """
    return replace(idc(), name="dance", epochs=1500, cutmix=SpatialCutMix())


@register
def ncfm() -> Training:
    """NCFM: Wang S. et al., CVPR 2025, https://arxiv.org/abs/2502.20653, and the authors' configurations.

    IDC's augmentation; 2,000 epochs of AdamW at 0.001 in batches of 128; the rate is halved after every fifth of them.
    On Tiny-ImageNet the authors train 300 epochs at 10 samples per class and 40 at 50.
    """
    return replace(
        idc(),
        name="ncfm",
        epochs=2000,
        batch_size=128,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.01,
        milestones=(0.2, 0.4, 0.6, 0.8),
        decay=0.5,
        cutmix=SpatialCutMix(),
    )


# Steps by the number of samples.
_FREPO_STEPS = {10: 1000, 100: 2000, 400: 5000, 500: 5000, 1000: 10_000, 2000: 40_000, 5000: 40_000}


@dataclass(frozen=True)
class FRePoSteps(DataDefault):
    """Steps by the number of samples, from FRePo's code; for another number those of the nearest, by its logarithm.

    One sample of each of 200 classes (Tiny-ImageNet) takes 20,000, more than its neighbors.
    """

    def __call__(self, info: DatasetInfo) -> int:
        samples = info.ipc * max(1, len(info.classes))
        if len(info.classes) == samples == 200:
            return 20_000
        return _FREPO_STEPS[min(_FREPO_STEPS, key=lambda known: abs(math.log(known / samples)))]


@register
def frepo() -> Training:
    """FRePo: Zhou, Nezhadarya and Ba, NeurIPS 2022, https://arxiv.org/abs/2206.00719, and the authors' code.

    Outputs are regressed on the labels by Adam at 3e-4, in batches of up to 500 samples: 500 steps from 0 to this rate,
    then half a cosine to a hundredth of it; 1,000 to 40,000 steps, by the number of samples. Characters are not
    flipped, nor are grayscale images. The authors test a network without normalization whose width doubles with every
    block, `network="doubling"`; their batches of more than 500 samples are not shuffled.
    """
    return Training(
        "frepo",
        batch_size=500,
        lr=3e-4,
        weight_decay=0.0,
        milestones=(),
        augment=FRePoAugment(),
        optimizer="adam",
        max_steps=FRePoSteps(),
        loss="squared_error",
        warmup=500,
        cosine=0.01,
    )
