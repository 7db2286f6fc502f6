"""The losses of an iteration, written from the equations: part of `naive.py`.

Letters: B rows of a class, K classes, d channels of a map, D features, t frequencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from naive_frequencies import distance
from naive_training import CurrentNetwork
from torch import Tensor, nn

from condensed_data.methods.objectives import (
    Centralization,
    CharacteristicFunction,
    Covariance,
    CrossEntropy,
    Discrimination,
    Distribution,
    Diversity,
    Gradient,
    KernelMMD,
    LayerAlignment,
)
from condensed_data.networks import embed_of, feature_maps_of

KNOWN = (
    Centralization,
    CharacteristicFunction,
    Covariance,
    CrossEntropy,
    Discrimination,
    Distribution,
    Diversity,
    Gradient,
    KernelMMD,
    LayerAlignment,
)


@dataclass(frozen=True)
class Group:
    """The samples of one class, or of one of its groups, in one iteration.

    Attributes:
        label: class index.
        real, synthetic: (B, *sample), augmented; `real` is empty for `Diversity`.
    """

    label: int
    real: Tensor
    synthetic: Tensor


def loss_of(objective: Any, current: CurrentNetwork, groups: Sequence[Group], t: Tensor | None = None) -> Tensor:
    """The loss of an objective, one group after the other.

    Args:
        objective: one of `KNOWN`.
        current: the network.
        groups: the groups of a step.
        t: (frequencies, D) of a `CharacteristicFunction`.
    """
    if isinstance(objective, Discrimination):
        return _discrimination(objective, current.module, groups)
    if isinstance(objective, Diversity):
        return torch.cat([_diversity(current.module, group.synthetic) for group in groups]).mean()
    if isinstance(objective, CharacteristicFunction):
        assert t is not None
        return torch.stack([_characteristic(objective, current.module, group, t) for group in groups]).sum()
    return torch.stack([_group_loss(objective, current, group) for group in groups]).sum()


def _group_loss(objective: Any, current: CurrentNetwork, group: Group) -> Tensor:
    network, real, synthetic = current.module, group.real, group.synthetic
    if isinstance(objective, Gradient):
        return _gradients(objective, network, real, synthetic, group.label)
    if isinstance(objective, CrossEntropy):
        truth = torch.full((len(synthetic),), group.label, device=synthetic.device)
        scale = 100 * current.accuracy if objective.scale_by_accuracy else 1
        return scale * F.cross_entropy(network(synthetic), truth)
    if isinstance(objective, LayerAlignment):
        return _layers(objective, network, real, synthetic)
    if isinstance(objective, Covariance):
        return _covariance(objective, network, real, synthetic)
    embed = embed_of(network)
    if isinstance(objective, Centralization):
        return _centralization(objective, embed(synthetic))
    with torch.no_grad():
        target = embed(real)
    if isinstance(objective, KernelMMD):
        return _discrepancy(objective, target, embed(synthetic))
    return (target.mean(0) - embed(synthetic).mean(0)).square().sum()


def _discrimination(objective: Discrimination, network: nn.Module, groups: Sequence[Group]) -> Tensor:
    """Real samples are classified by the mean synthetic embeddings: Wang K. et al., CVPR 2022."""
    embed, losses = embed_of(network), []
    centers = torch.stack([embed(group.synthetic).mean(0) for group in groups])
    classes = torch.tensor([group.label for group in groups])
    for number, group in enumerate(groups):
        with torch.no_grad():
            real = embed(group.real)
        others = (classes != group.label) | (torch.arange(len(groups)) == number)
        truth = torch.full((len(real),), int(others[:number].sum()), device=real.device)
        losses.append(F.cross_entropy(real @ centers[others].T, truth, reduction="sum"))
    return objective.weight * torch.stack(losses).sum()


def _characteristic(objective: CharacteristicFunction, network: nn.Module, group: Group, t: Tensor) -> Tensor:
    embed = embed_of(network)
    with torch.no_grad():
        target = F.normalize(embed(group.real), dim=1)
    return distance(target, F.normalize(embed(group.synthetic), dim=1), t, objective.alpha)


def _diversity(network: nn.Module, synthetic: Tensor) -> Tensor:
    """(1 + cosine) / 2 of the samples that two hallucinators make from a basis: Liu S. et al., NeurIPS 2022."""
    embed = embed_of(network)
    one, other = (embed(side) for side in synthetic.chunk(2))
    return (1 + (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))) / 2


def _gradients(objective: Gradient, network: nn.Module, real: Tensor, synthetic: Tensor, label: int) -> Tensor:
    least = 4 if objective.layers == "conv" and real.ndim == 4 else 2
    weights = [w.requires_grad_() for w in network.parameters() if w.ndim >= least]

    def gradient(x: Tensor, graph: bool) -> tuple[Tensor, ...]:
        loss = F.cross_entropy(network(x), torch.full((len(x),), label, device=x.device))
        return torch.autograd.grad(loss, weights, create_graph=graph)

    total = torch.zeros((), device=real.device)
    for a, b in zip(gradient(real, False), gradient(synthetic, True), strict=True):
        if objective.distance == "rows_cosine":
            a, b = a.flatten(1), b.flatten(1)
            total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
        else:
            total = total + ((a - b).abs() if objective.distance == "l1" else (a - b).square()).sum()
    return total


def _layers(objective: LayerAlignment, network: nn.Module, real: Tensor, synthetic: Tensor) -> Tensor:
    maps = feature_maps_of(network)
    with torch.no_grad():
        target = [rows.mean(0) for rows in maps(real)]
    means = [rows.mean(0) for rows in maps(synthetic)]
    weights = objective.weights or (*(0.1,) * (len(means) - 2), 1.0, 2.0)
    terms = zip(weights, target, means, strict=True)
    return torch.stack([weight * (a - b).square().sum() for weight, a, b in terms]).sum()


def _covariance(objective: Covariance, network: nn.Module, real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared distance of the covariances of the last maps (B, d, *locations): Deng et al., CVPR 2024."""

    def covariance(maps: Tensor) -> Tensor:
        rows = maps.flatten(2)
        rows = rows - rows.mean(0)
        return torch.bmm(rows, rows.transpose(1, 2)).mean(0)

    maps = feature_maps_of(network)
    with torch.no_grad():
        target = covariance(maps(real)[-1])
    return objective.weight * (target - covariance(maps(synthetic)[-1])).square().sum()


def _centralization(objective: Centralization, embedded: Tensor) -> Tensor:
    """The loss of the distances of embeddings (B, D) to their mean: Deng et al., CVPR 2024."""
    if objective.centers != "synthetic":
        raise ValueError(f"There is no naive loop for Centralization(centers={objective.centers!r}).")
    squares = (embedded - embedded.mean(0)).square().sum(1)
    if objective.form == "linear":
        return squares.sum()
    return (torch.exp(objective.alpha * squares) - objective.beta).clamp_min(0).sum()


def _discrepancy(objective: KernelMMD, real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of embeddings (B, D) with Gaussian kernels: Zhang H. et al., AAAI 2024."""
    if objective.kernel != "gaussian":
        raise ValueError(f"There is no naive loop for KernelMMD(kernel={objective.kernel!r}).")
    rows = torch.cat((real, synthetic.detach()))
    width = torch.cdist(rows, rows).square().sum() / (len(rows) * (len(rows) - 1))

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        distances = torch.cdist(x, y).square() / width
        return torch.stack([torch.exp(-distances / scale).mean() for scale in objective.scales]).sum()

    return kernel(real, real) - 2 * kernel(real, synthetic) + kernel(synthetic, synthetic)
