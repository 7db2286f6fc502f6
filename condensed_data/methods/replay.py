"""Training that belongs to a set: its own steps in their order, and where they begin.

Dataset distillation (Wang, Zhu, Torralba and Efros, 2018, https://arxiv.org/abs/1811.10959) learns samples for one
training run: plain gradient descent, block after block, each with a step size of its own, from weights that are
always the same, random, or trained elsewhere. In another order or with another optimizer they are worth little.
`OrderedTraining` names this protocol where other sets have a `Training`; `TrainingSchedule` holds what it needs and does it, with the
arithmetic of the unroll that learned the samples: it arrives at the same bits as a "checkpointed" or "constant" one,
and at those of a "full" one but for rounding.

Letters: N samples, T steps, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.device import to_device
from condensed_data.methods.base import Batch, InitialState, NetworkView, Pair
from condensed_data.methods.objectives.unrolled import trained_weights


@dataclass(frozen=True, eq=False)
class TrainingSchedule:
    """One training run on a set.

    Attributes:
        order: (rows,) int64 indices of samples, step after step.
        sizes: rows of each of the T steps.
        step_sizes: (T,) float32, positive.
        network: that the samples were learned for: a name, a specification or a callable (num_classes,
            sample_shape) -> Module; None where a file could not hold it.
        initial: where the networks begin.
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
        """Numbers that are kept beside samples and step sizes: the order, and initial weights where they are kept."""
        weights = self.initial.weights or {}
        return len(self.order) + len(self.sizes) + sum(weight.numel() for weight in weights.values())

    def train(self, module: nn.Module, images: Tensor, labels: Tensor, precision: str = "fp32") -> nn.Module:
        """Train a network in place, and return it.

        Every step is w - step_size * gradient of the mean cross-entropy on its block, in evaluation mode: no
        dropout, and statistics of batch normalization stay as they are.

        Args:
            module: where it begins; its weights are replaced.
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
