"""Losses in double precision, written from the equations with plain loops, and small inputs for them.

The loops use no code of the package. A block is the samples of a group, or their embeddings or maps.

Letters: C channels, D features, K classes, L locations.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.networks import ConvNet, build, embed_of, feature_maps_of

Gradient = dict[str, Tensor]
Rows = list[list[float]]
NET = ConvNet(width=4, depth=1)


def mean_gradient(loss: Callable[[int], Tensor], count: int, weights: Gradient) -> Gradient:
    """The mean over samples of the gradient of `loss(i)`, one backward pass for each sample."""
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for i in range(count):
        parts = torch.autograd.grad(loss(i), list(weights.values()))
        for name, part in zip(weights, parts, strict=True):
            total[name] += part / count
    return total


def log_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits (K,) and probabilities (K,)."""
    normalizer = torch.log(sum((torch.exp(value) for value in logits), torch.zeros((), dtype=logits.dtype)))
    return -sum(
        (target[k] * (logits[k] - normalizer) for k in range(len(logits))),
        torch.zeros((), dtype=logits.dtype),
    )


def linear_gradient(weight: Tensor, bias: Tensor, samples: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of the mean cross-entropy of a linear classifier, by its formula (p_k - y_k) x_d."""
    by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    for x, label in zip(samples, labels.tolist(), strict=True):
        scores = [
            math.exp(sum(float(w * v) for w, v in zip(row, x, strict=True)) + float(b))
            for row, b in zip(weight, bias, strict=True)
        ]
        for k, score in enumerate(scores):
            error = score / sum(scores) - (1.0 if k == label else 0.0)
            by_bias[k] += error / len(samples)
            for d in range(len(x)):
                by_weight[k, d] += error * x[d] / len(samples)
    return by_weight, by_bias


def gradient_distance(kind: str, real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> float:
    """DC's and IDC's distances between two lists of weight gradients."""
    if kind == "rows_cosine":
        return sum(_rows_cosine(a, b) for a, b in zip(real, synthetic, strict=True) if a.ndim > 1)
    first = [float(value) for tensor in real for value in tensor.flatten()]
    second = [float(value) for tensor in synthetic for value in tensor.flatten()]
    if kind == "cosine":
        return 1 - _cosine(first, second)
    power = {"mse": 2, "l1": 1}[kind]
    return sum(abs(a - b) ** power for a, b in zip(first, second, strict=True))


def _rows_cosine(a: Tensor, b: Tensor) -> float:
    distance = 0.0
    for row, other in zip(a, b, strict=True):
        distance += 1 - _cosine(row.flatten().tolist(), other.flatten().tolist())
    return distance


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b)) + 1e-6)


def alignment(weights: Sequence[float], real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> float:
    """CAFE's layer alignment of one block; the maps of a layer are (rows, ...)."""
    loss = 0.0
    for weight, a, b in zip(weights, real, synthetic, strict=True):
        a, b = a.flatten(1), b.flatten(1)
        for d in range(a.shape[1]):
            mean = sum(float(row[d]) for row in a) / len(a)
            other = sum(float(row[d]) for row in b) / len(b)
            loss += weight * (mean - other) ** 2
    return loss


def discrimination(real: Sequence[Tensor], synthetic: Sequence[Tensor], classes: Sequence[int]) -> float:
    """CAFE's discrimination: cross-entropy of real rows by dot products with the blocks' synthetic means."""
    centers = [[float(block[:, d].mean()) for d in range(block.shape[1])] for block in synthetic]
    loss = 0.0
    for own, block in enumerate(real):
        for row in block.tolist():
            scores = {
                other: sum(a * b for a, b in zip(row, center, strict=True))
                for other, center in enumerate(centers)
                if other == own or classes[other] != classes[own]
            }
            loss += math.log(sum(math.exp(score) for score in scores.values())) - scores[own]
    return loss


def covariance(maps: Tensor) -> list[list[float]]:
    """IID: mean over samples of (X_i - M)(X_i - M)^T for maps (rows, C, L)."""
    count, channels, locations = maps.shape
    x = maps.tolist()
    mean = [[sum(x[i][c][z] for i in range(count)) / count for z in range(locations)] for c in range(channels)]
    return [
        [
            sum((x[i][c][z] - mean[c][z]) * (x[i][e][z] - mean[e][z]) for i in range(count) for z in range(locations))
            / count
            for e in range(channels)
        ]
        for c in range(channels)
    ]


def squared_distance(a: Sequence[float], b: Sequence[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def mmd(
    kernel: Callable[[Sequence[float], Sequence[float]], float],
    real: Sequence[Sequence[float]],
    synthetic: Sequence[Sequence[float]],
) -> float:
    """M3D: mean k over pairs of real rows, of synthetic rows, and minus twice over mixed pairs."""

    def mean(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
        return sum(kernel(a, b) for a in first for b in second) / (len(first) * len(second))

    return mean(real, real) - 2 * mean(real, synthetic) + mean(synthetic, synthetic)


def characteristic_distance(
    real: Sequence[Sequence[float]],
    synthetic: Sequence[Sequence[float]],
    frequencies: Sequence[Sequence[float]],
    alpha: float,
) -> float:
    """NCFM, with complex numbers: amplitudes and phases of the characteristic functions."""

    def phi(rows: Sequence[Sequence[float]], t: Sequence[float]) -> complex:
        total = 0j
        for row in rows:
            norm = math.sqrt(sum(x * x for x in row))
            total += cmath.exp(1j * sum(a * x / norm for a, x in zip(t, row, strict=True)))
        return total / len(rows)

    loss = 0.0
    for t in frequencies:
        a, b = phi(real, t), phi(synthetic, t)
        amplitude = (abs(a) - abs(b)) ** 2
        phase = 2 * (abs(a) * abs(b) - (a * b.conjugate()).real)
        loss += math.sqrt(alpha * amplitude + (1 - alpha) * phase) / len(frequencies)
    return loss


def network_view(
    network: Callable[..., nn.Module],
    sample_shape: tuple[int, ...] = (2, 6, 6),
    classes: int = 3,
    seed: int = 0,
) -> NetworkView:
    """A network in double precision, as pools provide it, with micro-batches that do not divide the blocks."""
    module = build(network, classes, sample_shape, seed).double().requires_grad_(False)
    return NetworkView(module, embed_of(module), lambda x: feature_maps_of(module)(x), micro_batch=2)


def batch(sizes: Sequence[int], seed: int, sample_shape: tuple[int, ...] = (2, 6, 6)) -> Batch:
    """Normal samples in blocks; block i is class i."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(sizes), *sample_shape, dtype=torch.float64, generator=generator)
    y = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return Batch(x, y, tuple(sizes))


def pair(sample_shape: tuple[int, ...] = (2, 6, 6)) -> Pair:
    """Three classes: 5, 4 and 3 real samples against 2, 3 and 2 synthetic ones."""
    return Pair(batch((5, 4, 3), 1, sample_shape), batch((2, 3, 2), 2, sample_shape))


def shuffled(side: Batch, seed: int = 0) -> Batch:
    """The same samples in another order inside every block."""
    generator, start, order = torch.Generator().manual_seed(seed), 0, []
    for size in side.sizes:
        order.append(start + torch.randperm(size, generator=generator))
        start += size
    index = torch.cat(order)
    assert not torch.equal(index, torch.arange(len(index)))
    return Batch(side.x[index], side.y[index], side.sizes)


def embedded(net: NetworkView, side: Batch) -> list[Rows]:
    return [rows.tolist() for rows in side.split(net.embed(side.x))]


def blocks(net: NetworkView, both: Pair) -> list[tuple[Rows, Rows]]:
    return list(zip(embedded(net, both.real), embedded(net, both.synthetic), strict=True))
