"""What an objective compares, batches of both sides, and the network that it looks at them through.

Letters: B rows of a batch, K classes, G groups, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.device import to_device


@dataclass(frozen=True)
class Batch:
    """Rows of one side, arranged in contiguous blocks.

    Attributes:
        x: (B, *sample) in the standardized space.
        y: (B,) int64 class indices, or (B, K) soft labels.
        sizes: rows of each block, in order; they sum to B. A block is a group (`PerGroup`: one class, or one
            class and attribute) or one training step (`TrainingSteps`).
    """

    x: Tensor
    y: Tensor
    sizes: tuple[int, ...]

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """`rows` (B, ...) cut into the blocks."""
        return rows.split(list(self.sizes))

    def means(self, rows: Tensor) -> Tensor:
        """Mean of `rows` (B, ...) over each block, in float32 at least: (G, ...)."""
        rows = at_least_float32(rows)
        if len(set(self.sizes)) == 1:
            return rows.unflatten(0, (len(self.sizes), -1)).mean(1)
        return torch.stack([block.mean(0) for block in self.split(rows)])

    def repeat_per_block(self, blocks: Tensor) -> Tensor:
        """`blocks` (G, ...), one of every block, for each of its rows: (B, ...)."""
        return repeat_per_block(blocks, self.sizes)


def repeat_per_block(blocks: Tensor, sizes: Sequence[int]) -> Tensor:
    """`blocks` (G, ...) repeated as often as `sizes` say: (B, ...). No device is waited for."""
    if len(set(sizes)) == 1:
        return blocks.unsqueeze(1).expand(-1, sizes[0], *blocks.shape[1:]).flatten(0, 1)
    block = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return blocks[to_device(block, blocks.device)]


def at_least_float32(rows: Tensor) -> Tensor:
    """In float32 at least; a network in double precision keeps its own."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


@dataclass(frozen=True)
class Pair:
    """What an objective compares: a real and a synthetic batch with the same augmentation.

    Attributes:
        real, synthetic: with `PerGroup`, block i of both sides is the same group; with `TrainingSteps`, the real side
            is one block and the blocks of the synthetic side are the training steps in order.
        step_sizes: (steps,) learned step sizes of a `TrainingSteps`, else None.
        iteration: of the run; it names the random draws of an objective.
    """

    real: Batch
    synthetic: Batch
    step_sizes: Tensor | None = None
    iteration: int = 0


@dataclass
class NetworkView:
    """A network as a pool lends it: frozen weights, and ways to look through it.

    Objectives that need weight gradients take `weights()` and call `functional`, so that the lent network is
    never changed by an objective.

    Attributes:
        module: (B, *sample) -> (B, K) logits.
        embedding: (B, *sample) -> (B, D), the input of the last linear layer.
        layers: (B, *sample) -> maps of every block.
        micro_batch: most rows of one forward where no gradient is taken; it bounds memory and, on a CPU, keeps the
            maps in the cache. None for networks whose rows depend on each other (BatchNorm): they see all at once, so
            that they cannot be cut.
        precision: "fp32" or "bf16" (autocast; results are returned in float32).
        accuracy: running accuracy of a trained network, a fraction in [0, 1] as a scalar on the device, where the
            pool knows it; like `target`, `centers` and the weights it is renewed in place when a network is lent.
        target: weights that the network should reach (an expert's later ones), where the pool knows them.
        centers: (K, D) mean embedding of the real samples of every class, where the pool knows them.
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
        """(B, *sample) -> (B, D) float32 (float64 from a network in double precision)."""
        return self._forward(self.embedding, x)

    def logits(self, x: Tensor) -> Tensor:
        """(B, *sample) -> (B, K) float32 (float64 from a network in double precision)."""
        return self._forward(self.module, x)

    def feature_maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, *sample) -> the output of every block, in the network's own precision."""
        with self.autocast(x):
            return self.layers(x)

    def weights(self) -> dict[str, Tensor]:
        """Detached copies by reference of all parameters, each requiring a gradient."""
        return {name: weight.detach().requires_grad_() for name, weight in self.module.named_parameters()}

    def functional(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Logits (B, K) at other weights, differentiable in them."""
        with self.autocast(x):
            return at_least_float32(torch.func.functional_call(self.module, dict(weights), (x,)))

    def autocast(self, x: Tensor) -> AbstractContextManager[Any]:
        """The context in which this network computes."""
        if self.precision == "bf16":
            return torch.autocast(x.device.type, torch.bfloat16)
        return nullcontext()

    def chunks(self, *sides: Tensor) -> list[tuple[Tensor, ...]]:
        """Rows of all sides (B, ...), in the pieces that are looked at one by one where no gradient is taken."""
        rows = self.micro_batch or max(1, len(sides[0]))
        return list(zip(*(side.split(rows) for side in sides), strict=True))

    def _forward(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with self.autocast(x):
            pieces = [(x,)] if torch.is_grad_enabled() else self.chunks(x)
            return torch.cat([at_least_float32(function(rows)) for (rows,) in pieces])
