"""ZCA whitening: decorrelates all values of a sample by the linear map that changes it least.

MTT uses it on CIFAR (Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932; the authors use kornia's
implementation with epsilon 0.1 on values in [0, 1]). With the eigenvectors U and eigenvalues l of the covariance of the
values, a sample x becomes U diag(1 / sqrt(l + epsilon)) U^T (x - mean). Deviation: the map is computed after each
channel is standardized, so that it does not depend on the source's value space; `EPSILON` is 0.1 relative to 0.063, the
mean variance of CIFAR-10's pixels in [0, 1]. Letters: n samples, D values of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from condensed_data.core.device import to_device

EPSILON = 1.6
MAX_VALUES = 5_000  # time grows with the cube of D, memory with its square: 100 MB at this size


@dataclass(frozen=True, eq=False)
class Whitening:
    """The whitening map and its inverse."""

    mean: Tensor  # (D,) float32 of the standardized values
    vectors: Tensor  # (D, D) float32, orthonormal eigenvectors of their covariance, one a column
    scales: Tensor  # (D,) float32, 1 / sqrt(eigenvalue + epsilon)
    _maps: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def from_samples(chunks: Iterable[Tensor], epsilon: float = EPSILON) -> Whitening:
        """Compute the map from all samples of a source, in chunks (B, *shape), standardized, on any device."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for chunk in chunks:
            rows = chunk.flatten(1)
            # products in single precision, sums in double: a chunk has few rows, a source many
            count, total = count + len(rows), total.to(rows.device) + rows.double().sum(0)
            squares = squares.to(rows.device) + (rows.T @ rows).double()
        mean = total / count
        values, vectors = torch.linalg.eigh((squares / count - mean[:, None] * mean).cpu())
        scales = (values.clamp_min(0) + epsilon).rsqrt()
        return Whitening(mean.cpu().float(), vectors.float().contiguous(), scales.float())

    @staticmethod
    def check(shape: tuple[int, ...]) -> None:
        """Raise ValueError for samples that are too large to whiten: of more than `MAX_VALUES` values."""
        if math.prod(shape) > MAX_VALUES:
            raise ValueError(
                f"whitening='zca' needs a {math.prod(shape):,} x {math.prod(shape):,} matrix for samples of shape "
                f"{shape}; the limit is {MAX_VALUES:,} values per sample. Use whitening='none' or smaller samples."
            )

    def apply(self, samples: Tensor) -> Tensor:
        """Convert (B, *shape) standardized to (B, *shape) whitened."""
        rows = samples.flatten(1) - to_device(self.mean, samples.device)
        return (rows @ self.map(samples.device)).view(samples.shape)

    def invert(self, samples: Tensor) -> Tensor:
        """Convert (B, *shape) whitened to (B, *shape) standardized."""
        rows = samples.flatten(1) @ self._map("inverse", self.scales.reciprocal(), samples.device)
        return (rows + to_device(self.mean, samples.device)).view(samples.shape)

    def map(self, device: torch.device | str = "cpu") -> Tensor:
        """The symmetric whitening matrix (D, D)."""
        return self._map("map", self.scales, torch.device(device))

    def _map(self, name: str, scales: Tensor, device: torch.device) -> Tensor:
        """Computed once per device: it costs as much as whitening D samples."""
        key = f"{name} {device}"
        if key not in self._maps:
            vectors = self.vectors.to(device)
            self._maps[key] = (vectors * scales.to(device)) @ vectors.T
        return self._maps[key]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to store, by name."""
        return {"zca.mean": self.mean, "zca.vectors": self.vectors, "zca.scales": self.scales}

    @staticmethod
    def restore(tensors: dict[str, Tensor]) -> Whitening:
        """From the tensors of `tensors()`."""
        return Whitening(tensors["zca.mean"], tensors["zca.vectors"], tensors["zca.scales"])
