"""FRePo's objective: real samples, predicted by ridge regression on the features of the synthetic ones.

Zhou, Nezhadarya and Ba, NeurIPS 2022, https://arxiv.org/abs/2206.00719, equations 2 and 3, and the authors' code.
Letters: N synthetic samples, B real samples, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.core.annotations import NonNegative
from condensed_data.core.batch import NetworkView, Pair
from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import require
from condensed_data.methods.base import MemoryFootprint, Objective
from condensed_data.training.compute import regression_targets


@dataclass(frozen=True)
class RidgeRegression(Objective):
    """Half the squared error of real samples' predicted labels, plus a margin between the synthetic ones' scores.

    A linear layer that ridge regression fits to the synthetic features f (N, D) and labels y (N, K) predicts for real
    features g (B, D) the labels g f' (f f' + r tr(f f') / N I)^-1 y. Their targets are the one-hot rows minus 1/K; the
    error is summed over classes and averaged over real samples. Real features have no gradient. The label term, the
    authors' but not in the paper, is minus the mean over synthetic samples of min(largest - second score, 1/K).

    Kernels are computed and solved in float64 where the device has it, because r is near the resolution of float32.

    Args:
        regularization: r, positive.
        mirror: regress on the mirror images of the synthetic samples as well, with equal labels.
        margin: weight of the label term, which hard labels do not have.

    Raises:
        ValueError: for an argument out of range; for `mirror` with samples that are not images.
    """

    regularization: float = 1e-6
    mirror: bool | DataDefault = False
    margin: NonNegative = 1.0
    separable: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True
    reads_scores: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require(self.regularization > 0, "RidgeRegression", "regularization", self.regularization, "positive")

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise ValueError for mirror images of samples that are not images."""
        if self.mirror is True and len(sample_shape) != 3:
            raise ValueError(f"RidgeRegression(mirror=True) needs images; got samples of {sample_shape}. Use False.")

    def memory_footprint(self, real: Sequence[int], synthetic: Sequence[int]) -> MemoryFootprint:
        return MemoryFootprint((4 if self.mirror is True else 2) * sum(synthetic))

    def check_sizes(self, real: Sequence[int], synthetic: Sequence[int]) -> None:
        if sum(real) == 0:
            raise ValueError("RidgeRegression needs real samples. Use TrainingSteps(steps=1, batch=1024).")

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        x, y = pair.synthetic.x, pair.synthetic.y
        is_soft = y.ndim == 2
        classes = y.shape[1] if is_soft else int(torch.cat([y, pair.real.y]).max()) + 1
        loss = -self.margin * label_margin(y).mean() if is_soft else torch.zeros((), device=x.device)
        if require_resolved(self.mirror):
            x, y = torch.cat([x, x.flip(-1)]), torch.cat([y, y])
        with torch.no_grad():
            real = net.embed(pair.real.x)
        features = net.embed(x)
        targets = regression_targets(y, classes, features.dtype)
        predicted = predict_by_ridge(real, features, targets, self.regularization)
        error = predicted - regression_targets(pair.real.y, classes, predicted.dtype)
        return loss + error.square().sum(1).mean().to(x.dtype) / 2


def predict_by_ridge(queries: Tensor, features: Tensor, targets: Tensor, regularization: float) -> Tensor:
    """Ridge regression of `targets` (N, K) on `features` (N, D) at `queries` (B, D): (B, K).

    The ridge is `regularization` times the mean square norm of the features. The result is float64 if the device has
    it. Nothing waits for the device; features that are not finite, or all 0, give NaN or infinity.
    """
    wide = features.dtype if features.device.type == "mps" else torch.float64
    queries, features, targets = (rows.to(wide) for rows in (queries, features, targets))
    kernel = features @ features.T
    ridge = regularization * kernel.diagonal().mean()
    factor, _ = torch.linalg.cholesky_ex(kernel + ridge * torch.eye(len(kernel), dtype=wide, device=kernel.device))
    return queries @ (features.T @ torch.cholesky_solve(targets, factor))


def label_margin(scores: Tensor) -> Tensor:
    """By how much each row of `scores` (N, K) prefers its largest to its second, at most 1/K: (N,)."""
    largest = scores.topk(min(2, scores.shape[1]), 1).values
    return (largest[:, 0] - largest[:, -1]).clamp_max(1 / scores.shape[1])
