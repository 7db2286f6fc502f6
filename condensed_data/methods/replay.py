"""The training schedule that belongs to a condensed dataset: its steps in their order, and the initial weights.

Dataset distillation (Wang, Zhu, Torralba and Efros, 2018, https://arxiv.org/abs/1811.10959) learns samples for one
training run: plain gradient descent, block after block, each with its own step size, from initial weights that are
fixed, random, or trained elsewhere. In another order or with another optimizer the samples are of little use.
A recipe names this protocol by `OrderedTraining` instead of a `Training`; `TrainingSchedule` has its data and runs it.
Its arithmetic is that of the unroll that learned the samples: it gives the same bits as a "checkpointed" or "constant"
unroll, and equals a "full" one up to rounding.

Letters: N samples, T steps, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.core.device import to_device
from condensed_data.methods.base import InitialState
from condensed_data.methods.objectives.unrolled import trained_weights


@dataclass(frozen=True, eq=False)
class TrainingSchedule:
    """One training run on a condensed dataset.

    Attributes:
        order: (rows,) int64 indices of samples, step after step.
        sizes: rows of each of the T steps.
        step_sizes: (T,) float32, positive.
        network: the network that the samples were learned for: a name, a specification or a callable (num_classes,
            sample_shape) -> Module; None if it could not be stored in a file.
        initial: initial state of the networks.
    """

    order: Tensor
    sizes: tuple[int, ...]
    step_sizes: Tensor
    network: Any
    initial: InitialState

    @property
    def blocks(self) -> tuple[Tensor, ...]:
        """Indices of the samples of each of the T steps."""
        return self.order.split(list(self.sizes))

    @property
    def stored_floats(self) -> int:
        """Numbers stored in addition to samples and step sizes: the order, and initial weights if they are stored."""
        weights = self.initial.weights or {}
        return len(self.order) + len(self.sizes) + sum(weight.numel() for weight in weights.values())

    def train(self, module: nn.Module, images: Tensor, labels: Tensor, precision: str = "fp32") -> nn.Module:
        """Train a network in place and return it.

        Every step is w - step_size * gradient of the mean cross-entropy on its block, in evaluation mode: no
        dropout, and constant statistics of batch normalization.

        Args:
            module: network with its initial weights, which are replaced.
            images: (N, *sample) standardized, on the module's device.
            labels: (N,) int64 class indices or (N, K) probabilities.
            precision: "fp32" or "bf16".
        """
        module.eval().requires_grad_(False)
        order = to_device(self.order, images.device)
        side = Batch(images[order], labels[order], self.sizes)
        pair = Pair(side, side, to_device(self.step_sizes, images.device, images.dtype))
        net = NetworkView(module, module, lambda x: (module(x),), precision=precision)
        with torch.no_grad():
            module.load_state_dict(trained_weights(net, pair, "constant"), strict=False)
        return module
