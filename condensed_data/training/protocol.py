"""What an evaluation protocol is: how networks are trained on condensed data.

Every accuracy is stored with its protocol. The protocols of the papers are in `protocols`; in all of them the network
after the last epoch is tested. Letters: N samples, B rows of a batch, K classes, E epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from condensed_data.core.spec import DataDefault, Spec, require_resolved
from condensed_data.core.validation import check_choice, check_count, require
from condensed_data.data.augment import Augment, DefaultDSAOps, SiameseAugment

OPTIMIZERS = ("sgd", "adam", "adamw", "adamw_fan_in")
LOSSES = ("cross_entropy", "squared_error")
FULL_RATE_INPUTS = 64  # largest fan-in of a weight that "adamw_fan_in" trains at the full learning rate


@dataclass(frozen=True)
class Training(Spec):
    """How a network is trained: everything but the data, the network and the seed.

    The defaults are the protocol of DSA and DM, see `protocols.dsa`.

    Args:
        name: of the protocol, shown next to every accuracy. Give modified protocols their own name.
        epochs: E.
        extra_epoch: count as the authors of DC and DSA do: E + 1 epochs are trained, and the learning rate drops two
            epochs later than `milestones` say.
        batch_size: rows of a step; the last step of an epoch takes the remainder.
        lr: learning rate.
        momentum: of SGD; Adam and AdamW use torch's default betas.
        weight_decay: of the optimizer.
        milestones: the learning rate drops after int(E * milestone) epochs, each a fraction in (0, 1).
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
        views: number of successive samples of which an epoch takes one, drawn anew in every epoch: those that HaBa
            decodes from one basis. N must be a multiple of it.
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

    name: str = "dsa"
    epochs: int | DataDefault = 1000
    extra_epoch: bool = True
    batch_size: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.5,)
    decay: float = 0.1
    reset_momentum: bool = True
    augment: Augment | DataDefault = field(default=SiameseAugment(DefaultDSAOps(), per_sample=True))
    optimizer: str = "sgd"
    cutmix: float | DataDefault = 0.0
    cutmix_beta: float = 1.0
    views: int = 1
    max_steps: int | DataDefault | None = None
    loss: str = "cross_entropy"
    warmup: int = 0
    cosine: float | None = None

    def __post_init__(self) -> None:
        check_count("Training", "epochs", self.epochs, or_default=True)
        check_count("Training", "batch_size", self.batch_size)
        check_count("Training", "views", self.views)
        check_count("Training", "max_steps", self.max_steps, or_default=True, optional=True)
        check_count("Training", "warmup", self.warmup, 0)
        check_choice("Training", "loss", self.loss, LOSSES)
        is_fraction = self.cosine is None or (0 <= self.cosine <= 1 and not self.milestones)
        require(is_fraction, "Training", "cosine", self.cosine, "a fraction in [0, 1], with milestones=()")
        check_sgd("Training", self.lr, self.momentum, self.weight_decay, self.cutmix)
        check_milestones("Training", self.milestones, self.decay)
        check_choice("Training", "optimizer", self.optimizer, OPTIMIZERS)
        require(self.cutmix_beta > 0, "Training", "cutmix_beta", self.cutmix_beta, "positive")

    @property
    def label(self) -> str:
        """The protocol as shown next to an accuracy, such as "dc protocol" or "dsa protocol, 1001 steps"."""
        return f"{self.name} protocol" + (f", {self.max_steps} steps" if isinstance(self.max_steps, int) else "")

    def steps(self, samples: int) -> int:
        """Number of optimizer steps for this many samples."""
        epochs = require_resolved(self.epochs) + self.extra_epoch
        return require_resolved(self.max_steps) or epochs * self._per_epoch(samples)

    def started_epochs(self, samples: int) -> int:
        """Number of epochs for this many samples, including a last one that `max_steps` cuts short."""
        return math.ceil(self.steps(samples) / self._per_epoch(samples))

    def drops(self, samples: int) -> tuple[int, ...]:
        """Numbers of steps after which the learning rate drops, in increasing order, all before the last step."""
        if steps := require_resolved(self.max_steps):
            after: Iterable[int] = (int(steps * at) for at in self.milestones)
        else:
            epochs, late = require_resolved(self.epochs), 2 * self.extra_epoch
            # the smallest number that is added makes 2 / 3 of 1,500 epochs 1,000 of them
            after = ((int(epochs * at + 1e-9) + late) * self._per_epoch(samples) for at in self.milestones)
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
        return math.ceil(samples // self.views / self.batch_size)

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


def check_milestones(part: str, milestones: tuple[float, ...], decay: float) -> None:
    """Raise ValueError for a schedule out of range."""
    require(all(0 < at < 1 for at in milestones), part, "milestones", milestones, "fractions in (0, 1)")
    require(decay > 0, part, "decay", decay, "positive")


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
