"""ZCA whitening: all values of a sample made uncorrelated, by the linear map that changes it least.

As in MTT's experiments on CIFAR (Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932, whose authors use
kornia's with epsilon 0.1 on values in [0, 1]). With the eigenvectors U and eigenvalues l of the covariance of the
values, samples x become U diag(1 / sqrt(l + epsilon)) U^T (x - mean). Deviation: the map is taken after each channel
was standardized, so that it is the same whatever the source's value space is; `EPSILON` is 0.1 in the mean variance
0.063 of CIFAR-10's pixels in [0, 1].

Letters: n samples, D values of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from condensed_data.core.device import to_device

EPSILON = 1.6
MOST_VALUES = 5_000  # time grows with the cube of D, and memory with its square: 100 MB at this size


@dataclass(frozen=True, eq=False)
class Whitening:
    """The map and its inverse.

    Attributes:
        mean: (D,) float32 of the standardized values.
        vectors: (D, D) float32, orthonormal eigenvectors of their covariance, one a column.
        scales: (D,) float32, 1 / sqrt(eigenvalue + epsilon).
    """

    mean: Tensor
    vectors: Tensor
    scales: Tensor
    _maps: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def from_samples(chunks: Iterable[Tensor], epsilon: float = EPSILON) -> Whitening:
        """From all samples of a source, some (B, *shape) at a time, standardized, on any device."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for chunk in chunks:
            rows = chunk.flatten(1)
            # sums in double precision of products in single: a chunk has few rows, a source many
            count, total = count + len(rows), total.to(rows.device) + rows.double().sum(0)
            squares = squares.to(rows.device) + (rows.T @ rows).double()
        mean = total / count
        values, vectors = torch.linalg.eigh((squares / count - mean[:, None] * mean).cpu())
        scales = (values.clamp_min(0) + epsilon).rsqrt()
        return Whitening(mean.cpu().float(), vectors.float().contiguous(), scales.float())

    @staticmethod
    def check(shape: tuple[int, ...]) -> None:
        """Refuse samples that are too large.

        Raises:
            ValueError: for more than `MOST_VALUES` values.
        """
        if math.prod(shape) > MOST_VALUES:
            raise ValueError(
                f"whitening='zca' needs a matrix of {math.prod(shape):,} x {math.prod(shape):,} for samples of shape "
                f"{shape}; at most {MOST_VALUES:,} values are whitened. Use whitening='none' or smaller samples."
            )

    def apply(self, samples: Tensor) -> Tensor:
        """(B, *shape) standardized -> (B, *shape) whitened."""
        rows = samples.flatten(1) - to_device(self.mean, samples.device)
        return (rows @ self.map(samples.device)).view(samples.shape)

    def invert(self, samples: Tensor) -> Tensor:
        """(B, *shape) whitened -> (B, *shape) standardized."""
        rows = samples.flatten(1) @ self._map("inverse", self.scales.reciprocal(), samples.device)
        return (rows + to_device(self.mean, samples.device)).view(samples.shape)

    def map(self, device: torch.device | str = "cpu") -> Tensor:
        """The symmetric matrix (D, D)."""
        return self._map("map", self.scales, torch.device(device))

    def _map(self, name: str, scales: Tensor, device: torch.device) -> Tensor:
        """Made once for a device: it costs as much as whitening D samples."""
        key = f"{name} {device}"
        if key not in self._maps:
            vectors = self.vectors.to(device)
            self._maps[key] = (vectors * scales.to(device)) @ vectors.T
        return self._maps[key]

    def tensors(self) -> dict[str, Tensor]:
        """What is stored, by name."""
        return {"zca.mean": self.mean, "zca.vectors": self.vectors, "zca.scales": self.scales}

    @staticmethod
    def restore(tensors: dict[str, Tensor]) -> Whitening:
        """From `tensors`."""
        return Whitening(tensors["zca.mean"], tensors["zca.vectors"], tensors["zca.scales"])
