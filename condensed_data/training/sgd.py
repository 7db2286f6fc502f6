"""Mini-batch training, step by step: how pools train networks before a run and between its iterations.

`SGDConfig` holds the hyperparameters, `SGDTrainer` takes the steps. Evaluation trains whole networks by a protocol
instead (`condensed_data.training.protocol`). Letters: B rows of a batch, K classes, n real samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.rng import RandomStreams, seeded_rng
from condensed_data.core.spec import DataDefault, Spec, require_resolved
from condensed_data.core.validation import check_choice, check_count
from condensed_data.data.augment import Augment, Identity
from condensed_data.networks.modes import temporary_mode
from condensed_data.training.compute import activation_sizes, cache_rows, loss_and_logits
from condensed_data.training.protocol import LOSSES, check_sgd
from condensed_data.training.steps import augment_batch, backward_in_chunks


@dataclass(frozen=True)
class SGDConfig(Spec):
    """SGD, or Adam, on mini-batches.

    Args:
        lr, momentum, weight_decay: of SGD; Adam uses torch's default betas instead of `momentum`. The learning rate is
            constant within an epoch (see `Pretraining`).
        batch_size: rows of a step; the last step of an epoch takes the remainder.
        augment: applied to every batch.
        cutmix: probability of CutMix with Beta(1, 1) in a step, after `augment`.
        optimizer: "sgd" or "adam".
        loss: "cross_entropy" or "squared_error", see `Training`.

    Raises:
        ValueError: for a value out of range; in `check`, for CutMix of vectors.
    """

    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 256
    augment: Augment = field(default_factory=Identity)
    cutmix: float | DataDefault = 0.0
    optimizer: str = "sgd"
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        check_sgd("SGDConfig", self.lr, self.momentum, self.weight_decay, self.cutmix)
        check_count("SGDConfig", "batch_size", self.batch_size)
        check_choice("SGDConfig", "optimizer", self.optimizer, ("sgd", "adam"))
        check_choice("SGDConfig", "loss", self.loss, LOSSES)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise ValueError for CutMix of vectors, in which no box can be cut."""
        if not isinstance(self.cutmix, DataDefault) and self.cutmix and len(sample_shape) == 1:
            raise ValueError(f"SGDConfig(cutmix={self.cutmix}) needs images or signals, not vectors. Use cutmix=0.")

    def make_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """A new optimizer over all parameters."""
        if self.optimizer == "adam":
            return torch.optim.Adam(module.parameters(), self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(module.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)

    def batches(self, count: int, order: torch.Generator) -> tuple[Tensor, ...]:
        """The sample indices of every step of one shuffled epoch over `count` samples."""
        return torch.randperm(count, generator=order).split(self.batch_size)


class SGDTrainer:
    """Trains one module in place; the optimizer lives as long as this object.

    The module is on its device; its parameters require gradients only within a step. `sgd` is resolved. `on_rows` is
    called with the number of rows of every part of a batch, which may take long for large images.
    """

    def __init__(
        self,
        module: nn.Module,
        sgd: SGDConfig,
        num_classes: int,
        sample_shape: tuple[int, ...],
        precision: str = "fp32",
        on_rows: Callable[[int], None] | None = None,
    ) -> None:
        self.module, self.sgd, self.num_classes, self.precision = module, sgd, num_classes, precision
        self.on_rows = on_rows or (lambda rows: None)
        self.optimizer = sgd.make_optimizer(module)
        self.rows = _rows(module, sample_shape)

    def set_lr(self, lr: float) -> None:
        """Take the next steps at another learning rate; the momentum is kept."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def step(self, x: Tensor, y: Tensor, rng: RandomStreams, number: int = 0) -> tuple[Tensor, Tensor]:
        """Take one step, with the module in training mode.

        Args:
            x: (B, *sample) standardized, on the module's device.
            y: (B,) class indices, or (B, K) probabilities or scores.
            rng, number: name the draws of the augmentation.

        Returns:
            The mean loss, and which rows were classified correctly before the step, (B,) bool.
        """
        truth, predicted = y if y.ndim == 1 else y.argmax(1), []
        x, y = augment_batch(
            x.detach(),
            y.detach(),
            self.sgd.augment,
            rng,
            number,
            num_classes=self.num_classes,
            cutmix=require_resolved(self.sgd.cutmix),
        )

        def chunk_loss(x: Tensor, y: Tensor) -> Tensor:
            loss, logits = loss_and_logits(self.module, x, y, self.precision, loss=self.sgd.loss)
            predicted.append(logits.detach().argmax(1))
            self.on_rows(len(x))
            return loss

        with _trainable(self.module), torch.enable_grad():
            loss = backward_in_chunks(chunk_loss, x, y, self.rows)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return loss, torch.cat(predicted) == truth


def run_steps(
    trainer: SGDTrainer, batches: Iterable[tuple[Tensor, Tensor]], rng: RandomStreams
) -> list[tuple[Tensor, Tensor]]:
    """Take one `SGDTrainer.step` on each batch; `rng` names all draws. The global random states are restored."""
    with seeded_rng(rng):
        return [trainer.step(x, y, rng, number) for number, (x, y) in enumerate(batches)]


@contextmanager
def _trainable(module: nn.Module) -> Iterator[None]:
    """Training mode and gradients for the length of a block."""
    with temporary_mode(module, training=True):
        module.requires_grad_(True)
        try:
            yield
        finally:
            module.requires_grad_(False)


def _rows(module: nn.Module, sample_shape: tuple[int, ...]) -> int | None:
    """Rows of a chunk that stays in a CPU's cache; None on other devices, and if rows depend on each other."""
    weight = next(module.parameters())
    if weight.device.type != "cpu" or networks.has_batch_norm(module):
        return None
    sizes, _ = activation_sizes(module, torch.zeros(1, *sample_shape, dtype=weight.dtype))
    return cache_rows(max(sizes))
