"""Gradient matching (DC, DSA, IDC): distance of weight gradients on real and synthetic samples.

For every group, the gradient of the mean cross-entropy with respect to the weights of the network is computed on the
real and on the synthetic samples; the loss is the distance between the two, summed over groups.

* DC: Zhao, Mopuri and Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929, and DSA: Zhao and
  Bilen, ICML 2021, https://arxiv.org/abs/2102.08259: `Gradient()`.
* IDC: Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959: `Gradient("l1", "conv")` or `("mse", "conv")`.

Pools handle networks whose rows depend on each other: as DC's authors do, 16 real samples of each class pass through a
network with batch normalization in training mode, and its statistics are then frozen before gradients are compared.

Letters: B rows of a group, R rows of a weight tensor, P values in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from condensed_data.core.batch import NetworkView, Pair
from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_choice
from condensed_data.methods.base import Objective
from condensed_data.methods.objectives.classification import cross_entropy

EPS = 1e-6  # added to the product of the norms, as in DC's code
Weights = dict[str, Tensor]


def _rows_cosine(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Sum of 1 - cosine over the rows (R, P) of all tensors; one-dimensional tensors are ignored."""
    tensors = [(a.flatten(1), b.flatten(1)) for a, b in zip(real, synthetic, strict=True) if a.ndim > 1]
    return torch.stack([(1 - _cosines(a, b)).sum() for a, b in tensors]).sum()


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of (R, P) with its counterpart: (R,)."""
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + EPS)


def _cosine(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """1 - cosine of all values, as one vector."""
    a, b = (torch.cat([tensor.flatten() for tensor in side])[None] for side in (real, synthetic))
    return 1 - _cosines(a, b)[0]


def _mse(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Sum of squared differences; the authors call it MSE, although nothing is divided."""
    return torch.stack([(a - b).square().sum() for a, b in zip(real, synthetic, strict=True)]).sum()


def _l1(real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
    """Sum of absolute differences."""
    return torch.stack([(a - b).abs().sum() for a, b in zip(real, synthetic, strict=True)]).sum()


_DISTANCES = {"rows_cosine": _rows_cosine, "mse": _mse, "cosine": _cosine, "l1": _l1}


@dataclass(frozen=True)
class Gradient(Objective):
    """Distance between the weight gradients of real and synthetic samples, summed over groups.

    The synthetic labels may be soft, and the loss is differentiable in them. Sums are not normalized: the published
    learning rates assume them.

    Args:
        distance: "rows_cosine" (DC), sum of 1 - cosine over the rows of every tensor, one for each output unit, with
            1e-6 added to the product of the norms; "cosine", 1 - cosine of all values; "mse", sum of squared
            differences; "l1", sum of absolute differences (both IDC).
        layers: "weights", tensors of two or more dimensions; "conv", kernels of convolutions only (IDC); "all", also
            biases and the factors of normalizations, which "rows_cosine" ignores. DC's code uses "all" for "mse" and
            "cosine".

    Raises:
        ValueError: when called, for a network without such layers.
    """

    distance: str | DataDefault = "rows_cosine"
    layers: str = "weights"
    reads_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("Gradient", "distance", self.distance, _DISTANCES, or_default=True)
        check_choice("Gradient", "layers", self.layers, ("weights", "conv", "all"))

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        weights, names = self._matched(net)
        distance = _DISTANCES[require_resolved(self.distance)]
        losses = []
        blocks = (side.split(rows) for side in (pair.real, pair.synthetic) for rows in (side.x, side.y))
        for real_x, real_y, x, y in zip(*blocks, strict=True):
            target = _real_gradient(net, weights, names, real_x, real_y)
            losses.append(distance(target, _gradient(net, weights, names, x, y)))
        return torch.stack(losses).sum()

    def _matched(self, net: NetworkView) -> tuple[Weights, list[str]]:
        """All weights, of which only the matched ones require a gradient, and the names of the matched ones."""
        weights = net.weights()
        matched = _convolutions(net.module) if self.layers == "conv" else set(weights)
        if self.layers == "weights" or self.distance == "rows_cosine":
            matched = {name for name in matched if weights[name].ndim > 1}
        names = [name for name in weights if name in matched]
        if not names:
            raise ValueError(
                f"Gradient(layers={self.layers!r}): {type(net.module).__name__} has no such layers. "
                "Use layers='weights' or 'all', or another network."
            )
        return {name: w if name in matched else w.detach() for name, w in weights.items()}, names


def _convolutions(module: nn.Module) -> set[str]:
    """Names of the kernels of all convolutions."""
    convs = (name for name, layer in module.named_modules() if isinstance(layer, _ConvNd))
    return {f"{name}.weight" if name else "weight" for name in convs}


def _gradient(net: NetworkView, weights: Weights, names: list[str], x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Gradient of the mean cross-entropy in the named weights, differentiable in x (B, *sample) and y."""
    loss = cross_entropy(net.functional(weights, x), y).mean()
    matched = [weights[name] for name in names]
    # zeros for weights that the forward pass does not use, such as those of an auxiliary classifier
    return torch.autograd.grad(loss, matched, create_graph=True, materialize_grads=True)


def _real_gradient(net: NetworkView, weights: Weights, names: list[str], x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """The same without a graph, accumulated over chunks in their order, which limits memory."""
    matched = [weights[name] for name in names]

    def of_chunk(some_x: Tensor, some_y: Tensor) -> tuple[Tensor, ...]:
        loss = cross_entropy(net.functional(weights, some_x), some_y).sum() / len(x)
        return torch.autograd.grad(loss, matched, materialize_grads=True)

    found = [of_chunk(*chunk) for chunk in net.chunks(x, y)]
    return tuple(torch.stack(parts).sum(0) if len(parts) > 1 else parts[0] for parts in zip(*found, strict=True))
