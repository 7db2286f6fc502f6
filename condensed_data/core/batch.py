"""Inputs of an objective: a real and a synthetic batch, and the network that embeds them.

Letters: B rows of a batch, K classes, G groups, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.device import autocast, to_device


@dataclass(frozen=True)
class Batch:
    """Samples and labels, arranged in contiguous blocks."""

    x: Tensor  # (B, *sample) in the standardized space
    y: Tensor  # (B,) int64 class indices, or (B, K) soft labels
    # number of rows of each block, in order; they sum to B. A block is a group (with `PerGroup`: one class, or
    # one class and attribute) or one training step (with `TrainingSteps`).
    sizes: tuple[int, ...]

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Split `rows` (B, ...) into the blocks."""
        return rows.split(list(self.sizes))

    def means(self, rows: Tensor) -> Tensor:
        """Mean of `rows` (B, ...) over each block, in float32 or higher precision: (G, ...)."""
        rows = at_least_float32(rows)
        if len(set(self.sizes)) == 1:
            return rows.unflatten(0, (len(self.sizes), -1)).mean(1)
        return torch.stack([block.mean(0) for block in self.split(rows)])

    def repeat_per_block(self, blocks: Tensor) -> Tensor:
        """Repeat `blocks` (G, ...), one entry per block, for each row of the block: (B, ...)."""
        return repeat_per_block(blocks, self.sizes)


def repeat_per_block(blocks: Tensor, sizes: Sequence[int]) -> Tensor:
    """Repeat each entry of `blocks` (G, ...) `sizes[i]` times: (B, ...), without synchronizing the device."""
    if len(set(sizes)) == 1:
        return blocks.unsqueeze(1).expand(-1, sizes[0], *blocks.shape[1:]).flatten(0, 1)
    block = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return blocks[to_device(block, blocks.device)]


def at_least_float32(rows: Tensor) -> Tensor:
    """Convert to float32 unless the precision is higher, so that a network in double precision keeps its own."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


@dataclass(frozen=True)
class Pair:
    """A real and a synthetic batch with the same augmentation, for an objective to compare."""

    # with `PerGroup`, block i of both batches is the same group; with `TrainingSteps`, the real batch is one
    # block and the blocks of the synthetic batch are the training steps in order
    real: Batch
    synthetic: Batch
    step_sizes: Tensor | None = None  # (steps,) learned step sizes with `TrainingSteps`, else None
    iteration: int = 0  # of the run; it names the random draws of an objective


@dataclass
class NetworkView:
    """A network with frozen weights, as a pool provides it to an objective.

    Objectives that need weight gradients take `weights()` and call `functional`, so that an objective never changes
    the pool's network. When the pool provides another network, it updates the weights, `accuracy`, `target` and
    `centers` in place.

    Attributes:
        module: (B, *sample) -> (B, K) logits.
        embedding: (B, *sample) -> (B, D), the input of the last linear layer.
        layers: (B, *sample) -> the feature maps of each block.
        micro_batch: most rows per forward pass without gradients; this bounds memory and, on a CPU, keeps the feature
            maps in its cache. None for networks whose rows depend on each other (BatchNorm), which need the whole
            batch.
        precision: "fp32" or "bf16" (autocast; results are returned in float32).
        accuracy: running accuracy of a trained network, a fraction in [0, 1] as a scalar on the device; None if the
            pool does not measure it.
        target: weights that the network should reach (an expert's later ones); empty if the pool has none.
        centers: (K, D) mean embedding of the real samples of each class; None if the pool does not compute it.
    """

    module: nn.Module
    embedding: Callable[[Tensor], Tensor]
    layers: Callable[[Tensor], tuple[Tensor, ...]]
    micro_batch: int | None = None
    precision: str = "fp32"
    accuracy: Tensor | None = None
    target: Mapping[str, Tensor] = field(default_factory=dict)
    centers: Tensor | None = None

    def embed(self, x: Tensor) -> Tensor:
        """Embed samples: (B, *sample) -> (B, D) float32 (float64 for a network in double precision)."""
        return self._forward(self.embedding, x)

    def logits(self, x: Tensor) -> Tensor:
        """Compute logits: (B, *sample) -> (B, K) float32 (float64 for a network in double precision)."""
        return self._forward(self.module, x)

    def feature_maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the output of each block: (B, *sample) -> tensors in the network's own precision."""
        with self.autocast(x):
            return self.layers(x)

    def weights(self) -> dict[str, Tensor]:
        """All parameters, detached but sharing memory, each requiring a gradient."""
        return {name: weight.detach().requires_grad_() for name, weight in self.module.named_parameters()}

    def functional(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Logits (B, K) of samples x (B, *sample) for the given weights; differentiable with respect to both."""
        with self.autocast(x):
            return at_least_float32(torch.func.functional_call(self.module, dict(weights), (x,)))

    def autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        """The autocast context for this network's precision."""
        return autocast(x.device, self.precision)

    def chunks(self, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        """Split tensors (B, ...) into the micro-batches for forward passes without gradients."""
        rows = self.micro_batch or max(1, len(tensors[0]))
        return list(zip(*(tensor.split(rows) for tensor in tensors), strict=True))

    def _forward(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with self.autocast(x):
            chunks = [(x,)] if torch.is_grad_enabled() else self.chunks(x)
            return torch.cat([at_least_float32(function(rows)) for (rows,) in chunks])
