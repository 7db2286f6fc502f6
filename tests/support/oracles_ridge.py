"""FRePo's procedure in double precision, written from the paper and the authors' procedure; no code of the package.

Letters: N synthetic samples, B real samples, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Rows = list[list[float]]


def solve(matrix: Rows, right: Rows) -> Rows:
    """Gauss-Jordan elimination with pivots."""
    size = len(matrix)
    rows = [[*own, *values] for own, values in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for i in range(size):
            if i != column:
                factor = rows[i][column]
                rows[i] = [value - factor * other for value, other in zip(rows[i], rows[column], strict=True)]
    return [row[size:] for row in rows]


def ridge_loss(real: Rows, classes: list[int], synthetic: Rows, scores: Rows, ridge: float = 1e-6) -> float:
    """Half the squared error of real rows (B, D) of these classes, by the fit to synthetic rows (N, D)."""
    kernel = [[dot(a, b) for b in synthetic] for a in synthetic]
    trace = sum(kernel[i][i] for i in range(len(kernel)))
    for i in range(len(kernel)):
        kernel[i][i] += ridge * trace / len(kernel)
    coefficients, loss, count = solve(kernel, scores), 0.0, len(scores[0])
    for row, own in zip(real, classes, strict=True):
        similar = [dot(row, other) for other in synthetic]
        for k in range(count):
            target = (1.0 if k == own else 0.0) - 1 / count
            loss += (sum(a * c[k] for a, c in zip(similar, coefficients, strict=True)) - target) ** 2 / 2 / len(real)
    return loss


def label_loss(scores: Rows) -> float:
    """Minus the mean margin of the largest score, at most 1/K."""
    total = 0.0
    for row in scores:
        first, second = sorted(row)[-1], sorted(row)[-2]
        total -= min(first - second, 1 / len(row)) / len(scores)
    return total


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


class NaiveLamb:
    """optax's LAMB without weight decay."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors, self.count = tensors, 0
        self.first = [torch.zeros_like(tensor) for tensor in tensors]
        self.second = [torch.zeros_like(tensor) for tensor in tensors]

    @torch.no_grad()
    def step(self, gradients: tuple[Tensor, ...], lr: float) -> None:
        self.count += 1
        for i, (tensor, gradient) in enumerate(zip(self.tensors, gradients, strict=True)):
            self.first[i] = 0.9 * self.first[i] + 0.1 * gradient
            self.second[i] = 0.999 * self.second[i] + 0.001 * gradient**2
            mean, square = self.first[i] / (1 - 0.9**self.count), self.second[i] / (1 - 0.999**self.count)
            update = mean / (square**0.5 + 1e-6)
            norm, length = float((tensor**2).sum()) ** 0.5, float((update**2).sum()) ** 0.5
            tensor -= lr * (norm / length if norm and length else 1.0) * update


class NaiveFRePo:
    """The loop of FRePo, one network at a time.

    Args:
        images, scores: (N, *sample) and (N, K) float64, changed in place.
        network: number -> new network in float64.
        look: iteration -> which of the `pool` networks it uses.
    """

    def __init__(
        self,
        images: Tensor,
        scores: Tensor,
        network: Callable[[int], nn.Module],
        look: Callable[[int], int],
        *,
        pool: int,
        updates: int,
        mirror: bool,
    ) -> None:
        self.images, self.scores, self.network, self.look = images, scores, network, look
        self.updates, self.mirror, self.lamb = updates, mirror, NaiveLamb([images, scores])
        self.members = [self._member(i, updates // pool * i) for i in range(pool)]
        self.created = pool

    def _member(self, number: int, age: int) -> dict[str, Any]:
        module = self.network(number)
        return {"module": module, "adam": torch.optim.Adam(module.parameters(), 3e-4), "age": age}

    def iteration(self, number: int, real: Tensor, classes: Tensor, lr: float) -> float:
        """One update of the samples and scores, and then one of the network that it used; returns the loss."""
        member = self.members[self.look(number)]
        loss = self._loss(member["module"].eval(), real, classes)
        self.lamb.step(torch.autograd.grad(loss, [self.images, self.scores]), lr)
        if member["age"] > self.updates:
            self.members[self.look(number)] = self._member(self.created, 0)
            self.created += 1
        else:
            outputs = member["module"].train()(self.images.detach())
            error = ((outputs - self.scores.detach()) ** 2).sum(1).mean() / 2
            member["adam"].zero_grad()
            error.backward()
            member["adam"].step()
            member["age"] += 1
        return float(loss.detach())

    def _loss(self, module: Any, real: Tensor, classes: Tensor) -> Tensor:
        images, scores = self.images, self.scores
        count = scores.shape[1]
        margin = torch.stack([torch.minimum(*_margin_and_most(row)) for row in scores]).mean()
        if self.mirror:
            images, scores = torch.cat([images, images.flip(3)]), torch.cat([scores, scores])
        features, queries = module.embed(images), module.embed(real).detach()
        kernel = features @ features.T
        kernel = kernel + 1e-6 * kernel.trace() * torch.eye(len(kernel), dtype=kernel.dtype) / len(kernel)
        predicted = queries @ features.T @ torch.linalg.solve(kernel, scores)
        targets = torch.eye(count, dtype=kernel.dtype)[classes] - 1 / count
        return ((predicted - targets) ** 2 / 2).sum(1).mean() - margin


def _margin_and_most(row: Tensor) -> tuple[Tensor, Tensor]:
    ordered = row.sort().values
    return ordered[-1] - ordered[-2], torch.full_like(ordered[-1], 1 / len(row))
