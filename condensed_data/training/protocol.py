"""How to train on a condensed set: the protocol as one value, stored with every number that it gave.

The standard protocol is that of DC, DSA and DM (Zhao, Mopuri and Bilen, ICLR 2021,
https://arxiv.org/abs/2006.05929, and the authors' `evaluate_synset`): SGD for E + 1 epochs; after epoch
E // 2 + 1, counted from 0, the learning rate times 0.1 and a new optimizer, so that the momentum starts from
zero again. The network of the last epoch counts.

Letters: N samples, B rows of a batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from condensed_data.core.spec import DataDefault, Spec
from condensed_data.data.augment import Augment, DefaultDSAOps, Identity, SiameseAugment
from condensed_data.data.cutmix import SpatialCutMix

if TYPE_CHECKING:
    pass

OPTIMIZERS = ("sgd", "adamw", "adamw_fan_in")
FULL_RATE_INPUTS = 64  # of a weight, up to which "adamw_fan_in" lets it learn at the full rate


@dataclass(frozen=True)
class Training(Spec):
    """How a network is trained: everything but the data, the network and the seed.

    Args:
        name: of the protocol; it stands beside every accuracy. Give changed protocols a name of their own.
        epochs: E; as in the reference, E + 1 epochs are trained.
        batch_size: rows of a step; the last step of an epoch has what is left.
        lr: learning rate.
        momentum: of SGD; AdamW has torch's moments.
        weight_decay: of the optimizer.
        milestones: the learning rate drops after the epochs numbered int(E * milestone) + 1, counted from 0.
        decay: factor of a drop.
        reset_momentum: whether a drop starts a new optimizer.
        augment: how samples are augmented, with a draw of its own each step.
        optimizer: "sgd", "adamw", or "adamw_fan_in": AdamW whose weights of n inputs learn at min(1, 64 / n) of the
            rate. Adam moves every number by about the rate, so that a unit of many inputs moves by more; by the rule
            for Adam of Yang et al., NeurIPS 2021, https://arxiv.org/abs/2203.03466, table 3, one rate suits narrow and
            wide networks. They have no bound of 1, and count widths from a base network of their own.
        cutmix: probability that a step mixes pairs of samples by CutMix (Yun et al., ICCV 2019), as in IDC's
            evaluation; after `augment`.
        cutmix_beta: both parameters of the Beta distribution that draws the share which a sample keeps.
        max_steps: train exactly this many steps instead, for comparisons at an equal number of steps;
            `epochs` is ignored and the learning rate drops after int(max_steps * milestone) steps.

    Raises:
        ValueError: for a value out of its range.
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
    max_steps: int | None = None

    def __post_init__(self) -> None:
        _check(self, "epochs", _counts(self.epochs), "an integer >= 1")
        _check(self, "batch_size", _counts(self.batch_size), "an integer >= 1")
        _check(
            self, "max_steps", self.max_steps is None or _counts(self.max_steps), "None or an integer >= 1"
        )
        _check(self, "lr", self.lr > 0, "positive")
        _check(self, "momentum", 0 <= self.momentum < 1, "in [0, 1)")
        _check(self, "weight_decay", self.weight_decay >= 0, "at least 0")
        _check(self, "milestones", all(0 < at < 1 for at in self.milestones), "fractions in (0, 1)")
        _check(self, "decay", self.decay > 0, "positive")
        _check(self, "optimizer", self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}")
        mixes = isinstance(self.cutmix, DataDefault) or 0 <= self.cutmix <= 1
        _check(self, "cutmix", mixes, "a probability in [0, 1]")
        _check(self, "cutmix_beta", self.cutmix_beta > 0, "positive")
        _check(self, "augment", isinstance(self.augment, Augment), "an augmentation, such as Identity()")

    @property
    def label(self) -> str:
        """What is written beside an accuracy, such as "quick protocol" or "standard protocol, 1001 steps"."""
        return f"{self.name} protocol" + (f", {self.max_steps} steps" if self.max_steps else "")

    def steps(self, samples: int) -> int:
        """Optimizer steps that training on this many samples takes."""
        return self.max_steps or (self.epochs + 1) * self._per_epoch(samples)

    def started_epochs(self, samples: int) -> int:
        """Epochs on this many samples, a last one that `max_steps` cuts short included."""
        return math.ceil(self.steps(samples) / self._per_epoch(samples))

    def drops(self, samples: int) -> tuple[int, ...]:
        """Numbers of steps after which the learning rate drops, increasing, all before the last step."""
        if self.max_steps:
            after: Iterable[int] = (int(self.max_steps * at) for at in self.milestones)
        else:
            after = ((int(self.epochs * at) + 2) * self._per_epoch(samples) for at in self.milestones)
        return tuple(sorted(step for step in after if 0 < step < self.steps(samples)))

    def _per_epoch(self, samples: int) -> int:
        return math.ceil(samples / self.batch_size)

    def make_optimizer(
        self, module: nn.Module, drops: int = 0, *, weights: Iterable[Tensor] | None = None
    ) -> torch.optim.Optimizer:
        """A new optimizer at the learning rate after `drops` drops.

        Args:
            module: the network.
            drops: how often the rate has dropped.
            weights: what is stepped in the place of the network's parameters, in their order: those of several such
                networks, stacked.
        """
        lr, stepped = self.lr * self.decay**drops, module.parameters() if weights is None else weights
        if self.optimizer == "sgd":
            return torch.optim.SGD(stepped, lr, self.momentum, weight_decay=self.weight_decay)
        alike: dict[float, list[Tensor]] = {}
        for weight, inputs in zip(stepped, _inputs(module), strict=True):
            share = min(1.0, FULL_RATE_INPUTS / inputs) if self.optimizer == "adamw_fan_in" else 1.0
            alike.setdefault(share, []).append(weight)
        groups = [{"params": some, "lr": lr * share, "share": share} for share, some in alike.items()]
        return torch.optim.AdamW(groups, lr, weight_decay=self.weight_decay)

    def after_drop(
        self,
        optimizer: torch.optim.Optimizer,
        module: nn.Module,
        drops: int,
        *,
        weights: Iterable[Tensor] | None = None,
    ) -> torch.optim.Optimizer:
        """The optimizer with which training goes on after drop number `drops`; see `make_optimizer`."""
        if self.reset_momentum:
            return self.make_optimizer(module, drops, weights=weights)
        for group in optimizer.param_groups:
            group["lr"] = self.lr * self.decay**drops * group.get("share", 1.0)
        return optimizer


def _inputs(module: nn.Module) -> list[int]:
    """Of each parameter, in their order: how many inputs one of its outputs sums; 1 where it sums none."""
    gains = {
        id(gain) for part in module.modules() if isinstance(part, nn.LayerNorm) for gain in part.parameters()
    }
    return [
        1 if weight.ndim < 2 or id(weight) in gains else math.prod(weight.shape[1:])
        for weight in module.parameters()
    ]


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check(training: Training, argument: str, fine: bool, rule: str) -> None:
    if not fine:
        raise ValueError(f"Training({argument}={getattr(training, argument)!r}) must be {rule}.")


def standard(augment: bool = True) -> Training:
    """The evaluation that everyone cites: 1000 epochs with DSA augmentation, or 300 without any.

    DC on Fashion-MNIST is published without augmentation; DSA, DM and later methods with it. The choice matters
    for a baseline: 10 random Fashion-MNIST samples per class gave 73.7 % without (6 subsets; published: 73.8 %)
    and about 76.7 % with augmentation (2 subsets, 4000 test images).
    """
    return Training() if augment else Training(epochs=300, augment=Identity())


def quick() -> Training:
    """For small machines: the standard protocol with 300 epochs instead of 1000.

    Measured with random Fashion-MNIST samples, a ConvNet in bf16 and 4000 test images: 0.1 points above
    standard at 1 sample per class (4 networks each) and 0.7 points below at 10 (2 networks each), which is within
    the noise of so few networks at 1, in a third of the time at 10. A learning rate of 0.02 did not do better.
    """
    return replace(standard(), name="quick", epochs=300)


def idc() -> Training:
    """How IDC trains on its sets: Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959, and the authors' code.

    1000 epochs in batches of 64, the learning rate times 0.2 after 2/3 and 5/6 of them, color changes and one of
    translation, scaling and rotation (and flips, but for digits) for every sample, CutMix in half of the steps.
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


_PROTOCOLS = {"standard": standard, "quick": quick, "idc": idc}


def protocol(which: str | Training) -> Training:
    """A protocol by its name; a `Training` is returned as it is.

    Raises:
        ValueError: for an unknown name; the known ones are listed.
    """
    if isinstance(which, Training):
        return which
    if not isinstance(which, str) or which not in _PROTOCOLS:
        raise ValueError(f"Unknown training={which!r}. Give a Training or one of: {', '.join(_PROTOCOLS)}.")
    return _PROTOCOLS[which]()


@dataclass(frozen=True)
class OrderedTraining(Spec):
    """The protocol of a set that is trained on by its own steps, see `TrainingSchedule`.

    Args:
        name: stands beside every accuracy.
    """

    name: str = "ordered"

    @property
    def label(self) -> str:
        """What is written beside an accuracy."""
        return f"{self.name} protocol"
