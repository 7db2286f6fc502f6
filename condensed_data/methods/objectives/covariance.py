"""Second-order losses of IID: feature covariances and distances to class centers.

Deng et al., CVPR 2024, https://arxiv.org/abs/2404.00563.

Letters: B rows of a group, D features, d channels of a feature map, l its locations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from condensed_data.core.batch import NetworkView, Pair
from condensed_data.core.validation import check_choice
from condensed_data.methods.base import Objective
from condensed_data.methods.objectives.layers import block_maps


@dataclass(frozen=True)
class Covariance(Objective):
    """Squared Frobenius distance between the covariances of local features, summed over groups.

    The last feature map of a sample is a matrix X_i (d, l). The covariance of a group is the mean over its B samples of
    (X_i - M)(X_i - M)^T, (d, d), where M is the mean map: every location is centered by its own mean.

    Args:
        weight: factor of the sum, at least 0 and finite; the authors use 0.01 on DM and 0.03 on IDM.
        layers: for networks without a method `feature_maps`: names of submodules (see `module.named_modules()`); the
            output of the last one is the map.

    Raises:
        ValueError: when called, for groups with a single synthetic sample.
    """

    weight: float = 0.01
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"Covariance(weight={self.weight}) must be at least 0 and finite.")

    def check_sizes(self, real: Sequence[int], synthetic: Sequence[int]) -> None:
        if min(synthetic) < 2:
            raise ValueError(
                f"Covariance needs at least two synthetic samples in every group; one has {min(synthetic)}. "
                "The covariance of a single sample is zero. Use ipc=2 or more (two for each group of a class, if "
                "there are groups), or synthetic data that decodes several samples from one, such as MultiFormation."
            )

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        self.check_sizes(pair.real.sizes, pair.synthetic.sizes)
        with torch.no_grad():
            real = [_covariance(maps[-1]) for maps in block_maps(net, pair.real, self.layers)]
        synthetic = [_covariance(maps[-1]) for maps in block_maps(net, pair.synthetic, self.layers)]
        return self.weight * (torch.stack(real) - torch.stack(synthetic)).square().sum()


def _covariance(maps: Tensor) -> Tensor:
    """Covariance (d, d) of feature maps (B, d, *locations) or features (B, d)."""
    rows = maps.reshape(*maps.shape[:2], -1)
    deviations = (rows - rows.mean(0)).transpose(0, 1).flatten(1)  # (d, B * l)
    return deviations @ deviations.T / len(maps)


@dataclass(frozen=True)
class Centralization(Objective):
    """Distance of synthetic embeddings to the center of their class, under a network trained on the real data.

    With s_j = ||embedding of sample j - center of its class||^2 the loss is the sum over the synthetic samples of s_j
    in the linear form, which the authors' code computes, and of max(0, exp(alpha s_j) - beta) in the exponential form
    of their paper. A comment in the code says that both give the same result.

    Args:
        alpha: factor in the exponent, positive and finite; the authors' code has 0.02, commented out.
        beta: threshold below which a sample costs nothing, finite; 1 (our choice) is the value of the exponential at
            the center, so that every sample counts; larger values ignore samples near the center.
        form: "linear" (ignores alpha and beta) or "exponential".
        centers: "synthetic" is the mean embedding of the group's synthetic samples in this step, through which the
            gradient also flows, as in the authors' code. "real" is `NetworkView.centers`, the class means of the real
            data, which also works for a single sample.

    Raises:
        ValueError: when called, for groups with a single synthetic sample if centers are synthetic, and for a network
            without centers if they are real.
    """

    alpha: float = 0.02
    beta: float = 1.0
    form: str = "linear"
    centers: str = "synthetic"

    def __post_init__(self) -> None:
        check_choice("Centralization", "form", self.form, ("linear", "exponential"))
        check_choice("Centralization", "centers", self.centers, ("synthetic", "real"))
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"Centralization(alpha={self.alpha}) must be positive and finite.")

    def slope(self, square: float) -> float:
        """Derivative of a sample's loss, if it is above 0, with respect to its s_j, at this value of s_j."""
        return 1.0 if self.form == "linear" else self.alpha * math.exp(self.alpha * square)

    def check_sizes(self, real: Sequence[int], synthetic: Sequence[int]) -> None:
        if self.centers == "synthetic" and min(synthetic) < 2:
            raise ValueError(
                "Centralization(centers='synthetic') needs at least two synthetic samples in every group; "
                f"one has {min(synthetic)}, which is its own center. Use centers='real', ipc=2 or more, or "
                "synthetic data that decodes several samples from one, such as MultiFormation."
            )

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        self.check_sizes(pair.real.sizes, pair.synthetic.sizes)
        embedded = net.embed(pair.synthetic.x)
        squares = (embedded - self._centers(net, pair, embedded)).square().sum(1)
        if self.form == "linear":
            return squares.sum()
        return (torch.exp(self.alpha * squares) - self.beta).clamp_min(0).sum()

    def _centers(self, net: NetworkView, pair: Pair, embedded: Tensor) -> Tensor:
        """The center for each synthetic sample: (B, D)."""
        side = pair.synthetic
        if self.centers == "synthetic":
            return side.repeat_per_block(side.means(embedded))
        if net.centers is None:
            raise ValueError(
                "Cannot use Centralization(centers='real') with this pool: its networks have no class centers. "
                "Use the Pretrained pool, or centers='synthetic'."
            )
        return net.centers[side.y.argmax(1) if side.y.ndim > 1 else side.y]
