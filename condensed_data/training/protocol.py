"""Evaluation protocols: how networks are trained on condensed data. Every accuracy is stored with its protocol.

The standard protocol is that of DC, DSA and DM (Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929,
and the authors' `evaluate_synset`): SGD for E + 1 epochs; after epoch E // 2 + 1, counted from 0, the learning rate is
multiplied by 0.1 and the optimizer replaced, so that the momentum starts from zero again. The network after the last
epoch is tested. Letters: N samples, B rows of a batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from condensed_data.core.names import unknown_name
from condensed_data.core.spec import DataDefault, DatasetInfo, Spec, require_resolved
from condensed_data.core.validation import check_choice, check_count, require
from condensed_data.data.augment import Augment, DefaultDSAOps, Identity, SiameseAugment
from condensed_data.data.cutmix import SpatialCutMix

OPTIMIZERS = ("sgd", "adam", "adamw", "adamw_fan_in")
LOSSES = ("cross_entropy", "squared_error")
FULL_RATE_INPUTS = 64  # largest fan-in of a weight that "adamw_fan_in" trains at the full learning rate


@dataclass(frozen=True)
class Training(Spec):
    """How a network is trained: everything but the data, the network and the seed.

    Args:
        name: of the protocol, shown next to every accuracy. Give modified protocols their own name.
        epochs: E; as in the reference, E + 1 epochs are trained.
        batch_size: rows of a step; the last step of an epoch takes the remainder.
        lr: learning rate.
        momentum: of SGD; Adam and AdamW use torch's default betas.
        weight_decay: of the optimizer.
        milestones: the learning rate drops after the epochs numbered int(E * milestone) + 1, counted from 0.
        decay: factor of a drop.
        reset_momentum: whether a drop starts a new optimizer.
        augment: applied to the batch of every step.
        optimizer: "sgd", "adam", "adamw", or "adamw_fan_in": AdamW with the learning rate times min(1, 64 / n) for
            weights of fan-in n. Adam changes every weight by about the learning rate, so that the output of a unit with
            many inputs changes more; by the rule for Adam of Yang et al., NeurIPS 2021,
            https://arxiv.org/abs/2203.03466, table 3, one learning rate suits narrow and wide networks. Their factor
            is not limited to 1, and their widths are relative to a base network.
        cutmix: probability of CutMix (Yun et al., ICCV 2019) in a step, after `augment`, as in IDC's evaluation.
        cutmix_beta: both parameters of the Beta distribution of the fraction that a sample keeps.
        max_steps: number of steps to train, for comparisons at equal steps; `epochs` is ignored then, and the
            learning rate drops after int(max_steps * milestone) steps.
        loss: "cross_entropy"; or "squared_error": half the squared distance of the K outputs to the label, which is a
            row of learned scores, or a class as its one-hot row minus 1/K.
        warmup: steps over which the learning rate rises linearly from 0.
        cosine: after `warmup`, half a cosine brings the learning rate to this fraction of `lr` at the last step;
            None for a rate that changes at `milestones` only.

    Raises:
        ValueError: for a value out of range.
    """

    name: str = "standard"
    epochs: int = 1000
    batch_size: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.5,)
    decay: float = 0.1
    reset_momentum: bool = True
    augment: Augment = field(default=SiameseAugment(DefaultDSAOps(), per_sample=True))
    optimizer: str = "sgd"
    cutmix: float | DataDefault = 0.0
    cutmix_beta: float = 1.0
    max_steps: int | DataDefault | None = None
    loss: str = "cross_entropy"
    warmup: int = 0
    cosine: float | None = None

    def __post_init__(self) -> None:
        check_count("Training", "epochs", self.epochs)
        check_count("Training", "batch_size", self.batch_size)
        check_count("Training", "max_steps", self.max_steps, or_default=True, optional=True)
        check_count("Training", "warmup", self.warmup, 0)
        check_choice("Training", "loss", self.loss, LOSSES)
        is_fraction = self.cosine is None or (0 <= self.cosine <= 1 and not self.milestones)
        require(is_fraction, "Training", "cosine", self.cosine, "a fraction in [0, 1], with milestones=()")
        check_sgd("Training", self.lr, self.momentum, self.weight_decay, self.cutmix)
        is_fraction = all(0 < at < 1 for at in self.milestones)
        require(is_fraction, "Training", "milestones", self.milestones, "fractions in (0, 1)")
        require(self.decay > 0, "Training", "decay", self.decay, "positive")
        check_choice("Training", "optimizer", self.optimizer, OPTIMIZERS)
        require(self.cutmix_beta > 0, "Training", "cutmix_beta", self.cutmix_beta, "positive")

    @property
    def label(self) -> str:
        """The protocol as shown next to an accuracy, such as "quick protocol" or "standard protocol, 1001 steps"."""
        return f"{self.name} protocol" + (f", {self.max_steps} steps" if isinstance(self.max_steps, int) else "")

    def steps(self, samples: int) -> int:
        """Number of optimizer steps for this many samples."""
        return require_resolved(self.max_steps) or (self.epochs + 1) * self._per_epoch(samples)

    def started_epochs(self, samples: int) -> int:
        """Number of epochs for this many samples, including a last one that `max_steps` cuts short."""
        return math.ceil(self.steps(samples) / self._per_epoch(samples))

    def drops(self, samples: int) -> tuple[int, ...]:
        """Numbers of steps after which the learning rate drops, in increasing order, all before the last step."""
        if steps := require_resolved(self.max_steps):
            after: Iterable[int] = (int(steps * at) for at in self.milestones)
        else:
            after = ((int(self.epochs * at) + 2) * self._per_epoch(samples) for at in self.milestones)
        return tuple(sorted(step for step in after if 0 < step < self.steps(samples)))

    def tune(self, optimizer: torch.optim.Optimizer, step: int, samples: int) -> None:
        """Set the learning rates of step number `step`, from 0, for this many samples, if it has others than drops."""
        if self.cosine is None and not self.warmup:
            return
        if step < self.warmup:
            fraction = step / self.warmup
        elif self.cosine is None:
            fraction = self.decay ** sum(drop <= step for drop in self.drops(samples))
        else:
            progress = (step - self.warmup) / max(1, self.steps(samples) - self.warmup)
            fraction = self.cosine + (1 - self.cosine) * (1 + math.cos(math.pi * progress)) / 2
        for group in optimizer.param_groups:
            group["lr"] = self.lr * fraction * group.get("factor", 1.0)

    def _per_epoch(self, samples: int) -> int:
        return math.ceil(samples / self.batch_size)

    def make_optimizer(
        self, module: nn.Module, drops: int = 0, *, weights: Iterable[Tensor] | None = None
    ) -> torch.optim.Optimizer:
        """A new optimizer with the learning rate after `drops` drops.

        `weights` are optimized instead of the module's parameters, in the same order: the stacked weights of several
        such networks.
        """
        lr, stepped = self.lr * self.decay**drops, module.parameters() if weights is None else weights
        if self.optimizer == "sgd":
            return torch.optim.SGD(stepped, lr, self.momentum, weight_decay=self.weight_decay)
        if self.optimizer == "adam":
            return torch.optim.Adam(stepped, lr, weight_decay=self.weight_decay)
        by_factor: dict[float, list[Tensor]] = {}
        for weight, inputs in zip(stepped, _fan_in(module), strict=True):
            factor = min(1.0, FULL_RATE_INPUTS / inputs) if self.optimizer == "adamw_fan_in" else 1.0
            by_factor.setdefault(factor, []).append(weight)
        groups = [{"params": params, "lr": lr * factor, "factor": factor} for factor, params in by_factor.items()]
        return torch.optim.AdamW(groups, lr, weight_decay=self.weight_decay)

    def after_drop(
        self,
        optimizer: torch.optim.Optimizer,
        module: nn.Module,
        drops: int,
        *,
        weights: Iterable[Tensor] | None = None,
    ) -> torch.optim.Optimizer:
        """The optimizer to continue with after drop number `drops`; see `make_optimizer`."""
        if self.reset_momentum:
            return self.make_optimizer(module, drops, weights=weights)
        for group in optimizer.param_groups:
            group["lr"] = self.lr * self.decay**drops * group.get("factor", 1.0)
        return optimizer


def _fan_in(module: nn.Module) -> list[int]:
    """Fan-in of each parameter, in their order; 1 for biases and normalizations."""
    gains = {id(gain) for part in module.modules() if isinstance(part, nn.LayerNorm) for gain in part.parameters()}
    return [
        1 if weight.ndim < 2 or id(weight) in gains else math.prod(weight.shape[1:]) for weight in module.parameters()
    ]


def check_sgd(part: str, lr: float, momentum: float, weight_decay: float, cutmix: float | DataDefault) -> None:
    """Raise ValueError for a hyperparameter out of range, those that every kind of training has."""
    require(lr > 0, part, "lr", lr, "positive")
    require(0 <= momentum < 1, part, "momentum", momentum, "in [0, 1)")
    require(weight_decay >= 0, part, "weight_decay", weight_decay, "at least 0")
    mixes = isinstance(cutmix, DataDefault) or 0 <= cutmix <= 1
    require(mixes, part, "cutmix", cutmix, "a probability in [0, 1]")


def standard(augment: bool = True) -> Training:
    """The protocol of published results: 1000 epochs with DSA augmentation, or 300 without augmentation.

    DC's results on Fashion-MNIST are published without augmentation; those of DSA, DM and later methods with it. This
    matters for baselines: 10 random Fashion-MNIST samples per class gave 73.7 % without (6 subsets; published: 73.8 %)
    and about 76.7 % with augmentation (2 subsets, 4000 test images).
    """
    return Training() if augment else Training(epochs=300, augment=Identity())


def quick() -> Training:
    """For small machines: the standard protocol with 300 epochs instead of 1000.

    Measured with random Fashion-MNIST samples, a ConvNet in bf16 and 4000 test images: 0.1 points above
    standard at 1 sample per class (4 networks each) and 0.7 points below at 10 (2 networks each), which at 1
    is within the noise of so few networks, in a third of the time at 10. A learning rate of 0.02 was not better.
    """
    return replace(standard(), name="quick", epochs=300)


def idc() -> Training:
    """IDC's protocol: Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959, and the authors' code.

    1000 epochs in batches of 64; the learning rate times 0.2 after 2/3 and 5/6 of them; for every sample color changes
    and one of translation, scaling, rotation and (except for digits) flips; CutMix in half of the steps.
    """
    ops = DefaultDSAOps(("crop", "flip", "scale", "rotate"))
    return Training(
        "idc",
        batch_size=64,
        milestones=(2 / 3, 5 / 6),
        decay=0.2,
        reset_momentum=False,
        augment=SiameseAugment(ops, ("color",), per_sample=True),
        cutmix=SpatialCutMix(),
    )


@dataclass(frozen=True)
class FRePoSteps(DataDefault):
    """Steps by the number N of samples, from FRePo's code; for another N those of the nearest, by its logarithm."""

    def __call__(self, info: DatasetInfo) -> int:
        samples = info.ipc * max(1, len(info.classes))
        return _FREPO_STEPS[min(_FREPO_STEPS, key=lambda known: abs(math.log(known / samples)))]


# Tiny-ImageNet at one sample per class (200 samples) takes more steps than its neighbors.
_FREPO_STEPS = {10: 1000, 100: 2000, 200: 20_000, 400: 5000, 500: 5000, 1000: 10_000, 2000: 40_000, 5000: 40_000}


def frepo() -> Training:
    """FRePo's protocol: Zhou, Nezhadarya and Ba, NeurIPS 2022, https://arxiv.org/abs/2206.00719, and their code.

    Outputs are regressed on the labels by Adam at 3e-4 in batches of up to 500: 500 steps from 0 to this rate, then
    half a cosine to a hundredth of it. In every step one of color changes, zoom, rotation, translation, cutout and
    (except for characters) flips. The authors test a network without normalization whose width doubles with every
    block: `network="doubling"`; they leave Fashion-MNIST unflipped as well.

    Differences: the batches of more than 500 samples are shuffled (theirs follow the classes); DSA's zoom (each side
    by up to 1.2, around the center; theirs both by up to 1.25, anywhere), saturation and contrast (a factor between
    0.5 and 1.5; theirs between 0.78 and 1.28); and cutout may extend over the border.
    """
    return Training(
        "frepo",
        batch_size=500,
        lr=3e-4,
        weight_decay=0.0,
        milestones=(),
        augment=SiameseAugment(
            DefaultDSAOps(), per_sample=True, scale=1.25, cutout=0.25, brightness=0.5, saturation=1.0
        ),
        optimizer="adam",
        max_steps=FRePoSteps(),
        loss="squared_error",
        warmup=500,
        cosine=0.01,
    )


_PROTOCOLS = {"standard": standard, "quick": quick, "idc": idc, "frepo": frepo}


def protocol(which: str | Training) -> Training:
    """The protocol with this name; a `Training` is returned unchanged. For others, ValueError lists the names."""
    if isinstance(which, Training):
        return which
    if not isinstance(which, str) or which not in _PROTOCOLS:
        raise ValueError(f"training={which!r}: {unknown_name('protocol', which, _PROTOCOLS)}")
    return _PROTOCOLS[which]()


@dataclass(frozen=True)
class OrderedTraining(Spec):
    """The protocol of a condensed dataset that prescribes its own training steps, see `TrainingSchedule`.

    Args:
        name: shown next to every accuracy.
    """

    name: str = "ordered"

    @property
    def label(self) -> str:
        """The protocol as shown next to an accuracy."""
        return f"{self.name} protocol"
