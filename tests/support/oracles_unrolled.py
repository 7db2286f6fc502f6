"""Training steps and their derivatives written out for a small network, with plain loops in double precision.

The network is softmax regression with one hidden layer of tanh; its gradients are written by hand, so nothing here
uses the package or nested differentiation. Derivatives in the samples come from central differences.

Letters: D inputs, M hidden units, K classes, B rows, T steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Matrix = list[list[float]]
Weights = tuple[Matrix, Matrix]  # hidden (M, D), output (K, M)
Block = tuple[Matrix, list[int]]  # rows (B, D) and their classes


def probabilities(weights: Weights, x: Sequence[float]) -> tuple[list[float], list[float]]:
    """Hidden units and class probabilities of one row."""
    hidden = [math.tanh(sum(w * v for w, v in zip(row, x, strict=True))) for row in weights[0]]
    logits = [sum(w * h for w, h in zip(row, hidden, strict=True)) for row in weights[1]]
    total = sum(math.exp(value) for value in logits)
    return hidden, [math.exp(value) / total for value in logits]


def mean_loss(weights: Weights, block: Block) -> float:
    """Mean cross-entropy of a block."""
    losses = [-math.log(probabilities(weights, x)[1][y]) for x, y in zip(*block, strict=True)]
    return sum(losses) / len(losses)


def slope(weights: Weights, block: Block) -> Weights:
    """Gradient of `mean_loss` in the weights."""
    first = [[0.0] * len(weights[0][0]) for _ in weights[0]]
    second = [[0.0] * len(weights[0]) for _ in weights[1]]
    rows = len(block[0])
    for x, y in zip(*block, strict=True):
        hidden, p = probabilities(weights, x)
        error = [(p[k] - (k == y)) / rows for k in range(len(p))]
        for k in range(len(p)):
            for m in range(len(hidden)):
                second[k][m] += error[k] * hidden[m]
        for m in range(len(hidden)):
            back = sum(error[k] * weights[1][k][m] for k in range(len(p))) * (1 - hidden[m] ** 2)
            for d in range(len(x)):
                first[m][d] += back * x[d]
    return first, second


def minus(weights: Weights, size: float, gradients: Weights) -> Weights:
    """weights - size * gradients."""
    first, second = (
        [[w - size * g for w, g in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]
        for a, b in zip(weights, gradients, strict=True)
    )
    return first, second


def trained(weights: Weights, blocks: Sequence[Block], sizes: Sequence[float]) -> Weights:
    """The weights after one step on every block."""
    for block, size in zip(blocks, sizes, strict=True):
        weights = minus(weights, size, slope(weights, block))
    return weights


def trained_at(path: Sequence[Weights], start: Weights, blocks: Sequence[Block], sizes: Sequence[float]) -> Weights:
    """The same with every gradient taken at given weights: what the constant-memory unroll differentiates."""
    for at, block, size in zip(path, blocks, sizes, strict=True):
        start = minus(start, size, slope(at, block))
    return start


def path_of(weights: Weights, blocks: Sequence[Block], sizes: Sequence[float]) -> list[Weights]:
    """The weights before every step."""
    return [trained(weights, blocks[:t], sizes[:t]) for t in range(len(blocks))]


def distance(a: Weights, b: Weights) -> float:
    """Squared distance over all weights."""
    return sum(
        (v - w) ** 2
        for first, second in zip(a, b, strict=True)
        for one, other in zip(first, second, strict=True)
        for v, w in zip(one, other, strict=True)
    )


def difference(function: Callable[[float], float], step: float = 1e-3) -> float:
    """Derivative at 0 by central differences of fourth order: wrong by about step ** 4."""
    near, far = function(step) - function(-step), function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)
