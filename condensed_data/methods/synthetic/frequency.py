"""Samples stored as a few coefficients of their discrete cosine transform.

FreD: Shin et al., NeurIPS 2023, https://arxiv.org/abs/2311.08819. Deviations: the transform is orthonormal, so that
learning rates are those of pixels (the authors' transform is not, and they use 1e8 with trajectory matching), and every
channel keeps frequencies of its own.

Letters: N samples, K classes, C channels, H, W, L, F frequencies (H * W or L), k kept frequencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.methods.base import SyntheticData, SyntheticSpec
from condensed_data.methods.coresets import Init, Random
from condensed_data.methods.synthetic.groups import group_layout
from condensed_data.training.context import Context

ROWS = 1024


@dataclass(frozen=True)
class Frequency(SyntheticSpec):
    """The coefficients of the frequencies that vary most among the real samples of the class.

    In each channel, k = round(fraction * F) frequencies are kept, at least one: those of the greatest variance over the
    samples of the class. A class then has floor(ipc * F / k) samples within the budget of `ipc` whole ones. As in the
    paper, the budget counts the coefficients but not their positions; `stored_floats` counts both, the positions as
    one bit per frequency.

    Args:
        fraction: of the frequencies that are kept, in (0, 1]; the authors keep 64 of 1,024 for CIFAR-10 at ipc 1.
        init: initial samples; their other frequencies are dropped.

    Raises:
        ValueError: from `check`, for vectors.
    """

    fraction: float = 1 / 16
    init: Init = field(default_factory=Random)

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(
                f"Frequency(fraction={self.fraction!r}) must be in (0, 1]: how many of the frequencies to keep."
            )

    def check(self, sample_shape: tuple[int, ...]) -> None:
        if len(sample_shape) < 2:
            raise ValueError(
                f"Frequency transforms images (C, H, W) and signals (C, L), not vectors of shape {sample_shape}. "
                "Use Pixels."
            )

    def start(self, context: Context) -> SyntheticData:
        shape = context.real.sample_shape
        self.check(shape)
        total = prod(shape[1:])
        kept = max(1, round(self.fraction * total))
        sizes, labels, groups = group_layout(context.real, context.ipc * total // kept)
        positions = torch.stack([_most_varying(context, label, kept) for label in range(context.real.num_classes)])
        spectrum = transform(self.init.samples(context, sizes).detach()).flatten(2)
        coefficients = spectrum.gather(2, positions[labels].to(spectrum.device)).requires_grad_()
        return _FrequencyData(coefficients, positions, labels, groups, shape)

    def restore(self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]) -> SyntheticData:
        bits = torch.from_numpy(np.unpackbits(tensors["mask"].numpy(), axis=2))
        kept = tensors["coefficients"].shape[2]
        positions = bits.nonzero()[:, 2].view(*bits.shape[:2], kept)
        return _FrequencyData(tensors["coefficients"], positions, labels, labels, sample_shape)


class _FrequencyData(SyntheticData):
    """Coefficients (N, C, k) at the positions (K, C, k) of each class."""

    def __init__(
        self, coefficients: Tensor, positions: Tensor, labels: Tensor, groups: Tensor, shape: tuple[int, ...]
    ) -> None:
        self.coefficients, self.positions, self.shape = coefficients, positions, shape
        self.labels, self.groups = labels, groups
        self.learned = {"coefficients": coefficients}

    def decode(self, index: Tensor) -> Tensor:
        rows = self.coefficients[to_device(index, self.coefficients.device)]
        positions = to_device(self.positions[self.labels[index]], rows.device)
        spectrum = rows.new_zeros(*rows.shape[:2], prod(self.shape[1:])).scatter(2, positions, rows)
        return transform(spectrum.view(-1, *self.shape), inverse=True)

    def tensors(self) -> dict[str, Tensor]:
        bits = torch.zeros(*self.positions.shape[:2], prod(self.shape[1:]), dtype=torch.uint8)
        mask = np.packbits(bits.scatter(2, self.positions, 1).numpy(), axis=2)
        return {"coefficients": self.coefficients.detach().cpu(), "mask": torch.from_numpy(mask)}

    @property
    def stored_floats(self) -> int:
        bits = prod(self.positions.shape[:2]) * prod(self.shape[1:])
        return self.coefficients.numel() + -(-bits // 32)


def transform(samples: Tensor, inverse: bool = False) -> Tensor:
    """Orthonormal cosine transform (DCT-II) along every side of samples (N, C, ...), or its inverse."""
    for dim in range(2, samples.dim()):
        matrix = to_device(_dct_matrix(samples.shape[dim]), samples.device, samples.dtype)
        samples = (samples.movedim(dim, -1) @ (matrix if inverse else matrix.T)).movedim(-1, dim)
    return samples.contiguous()


def _dct_matrix(side: int) -> Tensor:
    """(side, side) float64: row f is the cosine of frequency f, normalized to length 1."""
    n = torch.arange(side, dtype=torch.float64)
    rows = torch.cos(torch.pi / side * (n + 0.5) * n[:, None]) * (2 / side) ** 0.5
    rows[0] /= 2**0.5
    return rows


def _most_varying(context: Context, label: int, kept: int) -> Tensor:
    """(C, k) positions of the frequencies with the greatest variance in a class, in increasing order."""
    sums = squares = torch.zeros((), dtype=torch.float64)
    count = 0
    real = context.real
    groups = zip(real.members, real.group_class.tolist(), strict=True)
    for index in torch.cat([members for members, group_class in groups if group_class == label]).split(ROWS):
        spectrum = transform(real[index].double().cpu()).flatten(2)
        sums, squares, count = (sums + spectrum.sum(0), squares + spectrum.square().sum(0), count + len(spectrum))
    variance = squares / count - (sums / count).square()
    return variance.argsort(dim=1, descending=True, stable=True)[:, :kept].sort(1).values
