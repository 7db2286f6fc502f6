"""What one class costs, from the equations: part of `naive.py`.

Letters: B rows of a class, d channels of a map, D features.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data.networks import embed_of, maps_of
from condensed_data.objectives import (
    Centralisation,
    Covariance,
    CrossEntropy,
    Discrimination,
    Distribution,
    Gradient,
    KernelMMD,
    LayerAlignment,
)

KNOWN = (
    Centralisation,
    Covariance,
    CrossEntropy,
    Discrimination,
    Distribution,
    Gradient,
    KernelMMD,
    LayerAlignment,
)


def class_loss(
    objective: Any, network: nn.Module, real: Tensor, synthetic: Tensor, label: int, accuracy: float
) -> Tensor:
    """What an objective costs for one class.

    Args:
        objective: one of `KNOWN`; `Discrimination` looks at all classes together and costs nothing for one.
        real, synthetic: (B, *sample), augmented.
        accuracy: of the network, a fraction.
    """
    if isinstance(objective, Gradient):
        return _gradients(objective, network, real, synthetic, label)
    if isinstance(objective, CrossEntropy):
        truth = torch.full((len(synthetic),), label)
        scale = 100 * accuracy if objective.scale_by_accuracy else 1
        return scale * F.cross_entropy(network(synthetic), truth)
    if isinstance(objective, LayerAlignment):
        return _layers(objective, network, real, synthetic)
    if isinstance(objective, Covariance):
        return _covariance(objective, network, real, synthetic)
    if isinstance(objective, Centralisation):
        return _centralisation(objective, embed_of(network)(synthetic))
    if isinstance(objective, Distribution | KernelMMD):
        embed = embed_of(network)
        with torch.no_grad():
            there = embed(real)
        here = embed(synthetic)
        if isinstance(objective, KernelMMD):
            return _discrepancy(objective, there, here)
        return (there.mean(0) - here.mean(0)).square().sum()
    return torch.zeros(())


def _gradients(
    objective: Gradient, network: nn.Module, real: Tensor, synthetic: Tensor, label: int
) -> Tensor:
    least = 4 if objective.layers == "conv" and real.ndim == 4 else 2
    weights = [w.requires_grad_() for w in network.parameters() if w.ndim >= least]

    def gradient(x: Tensor, graph: bool) -> tuple[Tensor, ...]:
        loss = F.cross_entropy(network(x), torch.full((len(x),), label))
        return torch.autograd.grad(loss, weights, create_graph=graph)

    total = torch.zeros(())
    for a, b in zip(gradient(real, False), gradient(synthetic, True), strict=True):
        if objective.distance == "rows_cosine":
            a, b = a.flatten(1), b.flatten(1)
            total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
        else:
            total = total + ((a - b).abs() if objective.distance == "l1" else (a - b).square()).sum()
    return total


def _layers(objective: LayerAlignment, network: nn.Module, real: Tensor, synthetic: Tensor) -> Tensor:
    maps = maps_of(network)
    with torch.no_grad():
        target = [rows.mean(0) for rows in maps(real)]
    mine = [rows.mean(0) for rows in maps(synthetic)]
    weights = objective.weights or (*(0.1,) * (len(mine) - 2), 1.0, 2.0)
    terms = zip(weights, target, mine, strict=True)
    return torch.stack([weight * (a - b).square().sum() for weight, a, b in terms]).sum()


def _covariance(objective: Covariance, network: nn.Module, real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared distance of the covariances of the last maps (B, d, *locations): Deng et al., CVPR 2024."""

    def spread(maps: Tensor) -> Tensor:
        rows = maps.flatten(2)
        rows = rows - rows.mean(0)
        return torch.bmm(rows, rows.transpose(1, 2)).mean(0)

    maps = maps_of(network)
    with torch.no_grad():
        target = spread(maps(real)[-1])
    return objective.weight * (target - spread(maps(synthetic)[-1])).square().sum()


def _centralisation(objective: Centralisation, embedded: Tensor) -> Tensor:
    """What the distances of embeddings (B, D) to their mean cost: Deng et al., CVPR 2024."""
    if objective.centres != "synthetic":
        raise ValueError(f"There is no naive loop for Centralisation(centres={objective.centres!r}).")
    squares = (embedded - embedded.mean(0)).square().sum(1)
    if objective.form == "simplified":
        return squares.sum()
    return (torch.exp(objective.alpha * squares) - objective.beta).clamp_min(0).sum()


def _discrepancy(objective: KernelMMD, real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of embeddings (B, D) with Gaussian kernels: Zhang H. et al., AAAI 2024."""
    if objective.kernel != "gaussian":
        raise ValueError(f"There is no naive loop for KernelMMD(kernel={objective.kernel!r}).")
    width = torch.cdist(real, real).square().mean()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        distances = torch.cdist(x, y).square() / width
        return torch.stack([torch.exp(-distances / scale).mean() for scale in objective.scales]).mean()

    return kernel(real, real) - 2 * kernel(real, synthetic) + kernel(synthetic, synthetic)
