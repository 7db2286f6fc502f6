"""Layer-wise feature alignment and discrimination (CAFE).

Wang K. et al., CVPR 2022, https://arxiv.org/abs/2203.01531.

Letters: R real rows, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data import networks
from condensed_data.core.annotations import NonNegative
from condensed_data.core.batch import Batch, NetworkView, Pair, at_least_float32
from condensed_data.core.device import to_device
from condensed_data.methods.base import Objective

EARLY, LATE, LAST = 0.1, 1.0, 2.0


@dataclass(frozen=True)
class LayerAlignment(Objective):
    """Squared distance between the mean feature maps of real and synthetic samples, over layers and groups.

    The loss is the sum over layers l and groups of w_l ||mean f_l(real) - mean f_l(synthetic)||^2, without
    normalization by the size of a map.

    For ConvNet-3 the authors weight the maps f1 to f4 by 0.1, 0.1, 1 and 1, and the flattened f4, which is the same
    numbers, by 1 again: f4 counts twice. Deviation: the defaults for other depths, and for networks whose embedding is
    not the flattened last map, are ours.

    Args:
        weights: one for each map, at least 0 and finite; by default 0.1 for all maps but the last two, then 1 and 2.
        layers: for networks without a method `feature_maps`: names of the submodules whose outputs are the maps; see
            `module.named_modules()`.

    Raises:
        ValueError: when called, for another number of maps than weights, or a network without maps if no `layers`.
    """

    weights: tuple[NonNegative, ...] | None = None
    layers: tuple[str, ...] = ()

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        with torch.no_grad():
            real = [rows.mean(0) for maps in block_maps(net, pair.real, self.layers) for rows in maps]
        synthetic = [rows.mean(0) for maps in block_maps(net, pair.synthetic, self.layers) for rows in maps]
        weights = self._weights(len(real) // len(pair.real.sizes)) * len(pair.real.sizes)
        maps = zip(weights, real, synthetic, strict=True)
        return torch.stack([weight * (target - mean).square().sum() for weight, target, mean in maps]).sum()

    def _weights(self, count: int) -> tuple[float, ...]:
        if self.weights is None:
            return (EARLY,) * (count - 2) + ((LATE,) if count > 1 else ()) + (LAST,)
        if len(self.weights) != count:
            raise ValueError(
                f"LayerAlignment(weights={self.weights}) has {len(self.weights)} weights, but the network has "
                f"{count} maps. Give {count} weights, or None for the default."
            )
        return self.weights


@dataclass(frozen=True)
class Discrimination(Objective):
    """Cross-entropy of real samples, classified by the mean synthetic embedding of every class.

    The logits of a real sample are the dot products of its embedding with the mean synthetic embedding of each class;
    the cross-entropy is summed over the real samples. With groups inside classes every group has its own mean, and the
    other groups of a sample's class are excluded from its logits.

    Args:
        weight: factor of the sum, at least 0 and finite; the authors use 0.01.

    Raises:
        ValueError: when called, for less than two groups.
    """

    weight: NonNegative = 0.01
    separable: ClassVar[bool] = False

    def check_sizes(self, real: Sequence[int], synthetic: Sequence[int]) -> None:
        if len(synthetic) < 2:
            raise ValueError(
                f"Discrimination compares classes and cannot be computed for {len(synthetic)} group alone. "
                "Use step_per='iteration' in the recipe, and a source with at least two classes."
            )

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        self.check_sizes(pair.real.sizes, pair.synthetic.sizes)
        with torch.no_grad():
            real = net.embed(pair.real.x)
        logits = real @ pair.synthetic.means(net.embed(pair.synthetic.x)).T  # (R, G)
        groups = torch.arange(len(pair.real.sizes), device=logits.device)
        group = pair.real.repeat_per_block(groups)
        last = torch.tensor(pair.real.sizes).cumsum(0) - 1  # on the CPU: on the device it would force a synchronization
        classes = pair.real.y[to_device(last, logits.device)]
        same_class = (classes[:, None] == classes) & (groups[:, None] != groups)
        logits = logits.masked_fill(same_class[group], -math.inf)
        return self.weight * F.cross_entropy(logits, group, reduction="sum")


def block_maps(net: NetworkView, batch: Batch, layers: tuple[str, ...] = ()) -> Iterator[tuple[Tensor, ...]]:
    """The feature maps (rows of the block, ...) of one block after the other, in float32 or wider.

    Without gradients, and if rows do not depend on each other, only the maps of one block are in memory. `layers` names
    submodules; empty for the maps of `net.feature_maps`.
    """
    if torch.is_grad_enabled() or net.micro_batch is None:
        yield from zip(*(batch.split(rows) for rows in _maps(net, batch.x, layers)), strict=True)
    else:
        for x in batch.split(batch.x):
            chunks = [_maps(net, rows, layers) for rows in x.split(net.micro_batch)]
            yield tuple(torch.cat(rows) for rows in zip(*chunks, strict=True))


def _maps(net: NetworkView, x: Tensor, layers: tuple[str, ...]) -> tuple[Tensor, ...]:
    if layers:
        with net.autocast(x):
            maps = networks.feature_maps_of(net.module, layers)(x)
    else:
        maps = net.feature_maps(x)
    return tuple(map(at_least_float32, maps))
