"""Training one network from scratch on tensors, by an evaluation protocol.

Letters: N samples, B rows of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.device import choose_device, choose_precision, to_device
from condensed_data.core.rng import RandomStreams, seeded_rng
from condensed_data.core.spec import DataDefault, Spec, iter_fields, require_resolved
from condensed_data.training.compute import (
    BATCH_LOSSES,
    COMPILE_PAYS,
    LossFunction,
    activation_sizes,
    cache_rows,
    can_compile,
    compiled,
    regression_targets,
)
from condensed_data.training.protocol import Training
from condensed_data.training.steps import augment_batch, backward_in_chunks, run_protocol


@dataclass(frozen=True)
class Trainer:
    """Trains networks of one architecture on the same samples, which stay on the device."""

    images: Tensor  # (N, *sample) standardized samples on the device; networks compute in their dtype
    labels: Tensor  # (N,) int64, or (N, K) probabilities or scores, on the device
    network: Callable[..., nn.Module]  # (num_classes, sample_shape) -> Module
    num_classes: int  # K
    training: Training  # the resolved protocol
    precision: str  # "fp32" or "bf16"
    rows: int | None  # largest chunk in which a step is computed; None for whole batches
    loss: LossFunction  # (module, x, y, precision) -> that of the protocol, summed over a chunk

    @staticmethod
    def prepare(
        images: Tensor,
        labels: Tensor,
        *,
        network: str | Callable[..., nn.Module],
        num_classes: int,
        training: Training,
        device: str | torch.device | None = "cpu",
        precision: str = "fp32",
        compile: bool | None = None,  # noqa: A002  # as torch calls it
        runs: int = 1,
    ) -> Trainer:
        """Check all arguments, move the samples to the device, and choose how to compute.

        Args:
            images: (N, *sample) standardized float samples.
            labels: (N,) int64 class indices in [0, K), or (N, K) probabilities; scores (N, K) of any value if
                the protocol's loss is the squared error.
            network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
            num_classes: K.
            training: the protocol, resolved.
            device: where to compute; None or "auto" for the best one.
            precision: "fp32", "bf16" (autocast) or "auto".
            compile: whether to use torch.compile; None uses it for bf16 on a CPU if a network of this package takes
                enough steps and a C++ compiler is installed.
            runs: networks that will be trained; for many, compiling pays off sooner.

        Raises:
            ValueError: for data that do not match each other, the network or the protocol.
        """
        device = choose_device(device)
        precision = choose_precision(precision, device)
        _check(images, labels, num_classes, training)
        build = networks.network(network)
        largest, coupled = _try_network(build, images, num_classes)
        if compile is None:
            values = largest * training.steps(len(images)) * min(len(images), training.batch_size) * runs
            compilable = isinstance(build, Spec) and device.type == "cpu" and precision == "bf16"
            compile = compilable and values >= COMPILE_PAYS and can_compile()  # noqa: A001
        if training.cutmix and labels.ndim == 1:
            centered = regression_targets(labels, num_classes, images.dtype)
            labels = F.one_hot(labels, num_classes).to(images.dtype) if training.loss == "cross_entropy" else centered
        return Trainer(
            images.to(device),
            labels.to(device),
            build,
            num_classes,
            training,
            precision,
            cache_rows(largest) if device.type == "cpu" and not coupled else None,
            compiled(BATCH_LOSSES[training.loss]) if compile else BATCH_LOSSES[training.loss],
        )

    def fit(self, rng: RandomStreams, on_epoch: Callable[[int], None] | None = None) -> nn.Module:
        """Train a new network; returned after the last step, in evaluation mode, on the device.

        `rng` names the initial weights ("network") and every draw: the same samples and arguments give the same bits
        with the same torch, kind of device, thread count and precision. The global random states are restored at the
        end, so do not call this from several threads at once. `on_epoch` is called after every epoch with the number of
        completed ones. A loss that ends as NaN or infinite raises FloatingPointError.
        """
        module = self.new(rng)
        with seeded_rng(rng):
            last = self.take_steps(module, rng, on_epoch or (lambda epoch: None))
        if not bool(torch.isfinite(last)):
            raise FloatingPointError(
                f"Training a {type(module).__name__} diverged to a loss of {float(last)}: lower Training(lr="
                f"{self.training.lr}), or look for extreme values in images."
            )
        return module.eval()

    def new(self, rng: RandomStreams) -> nn.Module:
        """A network with its initial weights, on the device, in training mode."""
        shape = tuple(self.images.shape[1:])
        module = networks.build(self.network, self.num_classes, shape, rng.seed_for("network"))
        return module.to(self.images.device, self.images.dtype).train()

    @property
    def compiled(self) -> bool:
        """Whether steps run as compiled code."""
        return self.loss is not BATCH_LOSSES[self.training.loss]

    def take_steps(self, module: nn.Module, rng: RandomStreams, on_epoch: Callable[[int], None]) -> Tensor:
        """Train a module in place by the whole protocol; returns the loss of the last step, on the device."""
        training = self.training

        def batches(epoch: int) -> Sequence[Tensor]:
            return to_device(self.order(rng, epoch), self.images.device).split(training.batch_size)

        def step(optimizer: torch.optim.Optimizer, index: Tensor, number: int) -> Tensor:
            return self.step(module, optimizer, index, rng, number)

        return run_protocol(training, len(self.images), module, batches, step, on_epoch)

    def order(self, rng: RandomStreams, epoch: int) -> Tensor:
        """The order of the samples in one epoch, (N / views,) on the CPU."""
        views = self.training.views
        order = torch.randperm(len(self.images) // views, generator=rng.torch("shuffle", epoch))
        if views == 1:
            return order
        return order * views + torch.randint(views, order.shape, generator=rng.torch("view", epoch))

    def batch(self, index: Tensor, rng: RandomStreams, step: int) -> tuple[Tensor, Tensor]:
        """Samples and labels of one step, augmented."""
        return augment_batch(
            self.images[index],
            self.labels[index],
            require_resolved(self.training.augment),
            rng,
            step,
            num_classes=self.num_classes,
            cutmix=require_resolved(self.training.cutmix),
            beta=self.training.cutmix_beta,
        )

    def step(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, index: Tensor, rng: RandomStreams, number: int
    ) -> Tensor:
        """Train a module for one step on the samples with these indices (B,); returns the mean loss, detached."""
        x, y = self.batch(index, rng, number)
        optimizer.zero_grad()
        total = backward_in_chunks(lambda x, y: self.loss(module, x, y, self.precision), x, y, self.rows)
        optimizer.step()
        return total


def _check(images: Tensor, labels: Tensor, num_classes: int, training: Training) -> None:
    """Raise ValueError for samples, labels or a protocol that cannot be trained on."""
    check_samples("images", images, "labels", labels, num_classes)
    unresolved = [path for path, value in iter_fields(training) if isinstance(value, DataDefault)]
    if unresolved:
        raise ValueError(
            f"training: {', '.join(unresolved)} depends on the data. Call "
            "condensed_data.core.spec.resolve(training, info) first."
        )
    if len(images) % training.views:
        raise ValueError(
            f"Training(views={training.views}) takes one of every {training.views} samples in an epoch, but there are "
            f"{len(images)}. Use views=1."
        )
    if training.loss == "cross_entropy" and labels.ndim == 2 and bool((labels < 0).any()):
        raise ValueError(
            "labels have negative values, so they are scores to regress on, not probabilities. Use a protocol with "
            "loss='squared_error' (such as \"frepo\"), or the classes labels.argmax(1)."
        )
    if training.cutmix and images.ndim < 3:
        raise ValueError(f"Training(cutmix={training.cutmix}) needs images or signals, not vectors. Use cutmix=0.")


def check_samples(name: str, samples: Tensor, label_name: str, labels: Tensor, num_classes: int) -> None:
    """Raise ValueError for samples and labels that do not match; `name` and `label_name` are used in messages."""
    if samples.ndim < 2 or len(samples) == 0 or samples.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{name} must be float32 or float64 (N, *sample) with N >= 1; got {samples.dtype} {tuple(samples.shape)}."
        )
    soft = labels.is_floating_point() and tuple(labels.shape) == (len(samples), num_classes)
    hard = labels.dtype == torch.int64 and tuple(labels.shape) == (len(samples),)
    if not (soft or hard):
        raise ValueError(
            f"{label_name} must be int64 ({len(samples)},) or probabilities ({len(samples)}, {num_classes}); "
            f"got {labels.dtype} {tuple(labels.shape)}."
        )
    if hard and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"{label_name} has values from {int(labels.min())} to {int(labels.max())}; "
            f"num_classes={num_classes} allows 0 to {num_classes - 1}."
        )


def _try_network(build: Callable[..., nn.Module], images: Tensor, num_classes: int) -> tuple[int, bool]:
    """Values of the largest feature map of one sample, and whether rows of a batch depend on each other."""
    module = networks.build(build, num_classes, tuple(images.shape[1:]), 0).to(images.dtype)
    sizes, logits = activation_sizes(module, images[:1].cpu())
    if tuple(logits.shape) != (1, num_classes):
        raise ValueError(f"network returns shape {tuple(logits.shape)} for one sample; it must be (1, {num_classes}).")
    return max(sizes), networks.has_batch_norm(module)
