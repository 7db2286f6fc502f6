"""Samples stored as a few coefficients of their cosine transform.

FreD: Shin et al., NeurIPS 2023, https://arxiv.org/abs/2311.08819. Deviations: the transform is orthonormal, so that
learning rates are those of pixels (the authors' transform is not, and they use 1e8 with trajectory matching).

Letters: N samples, K classes, C channels, H, W, L, F frequencies (H * W or L), k kept ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.data.real import RealData
from condensed_data.methods.base import SyntheticData, SyntheticSpec
from condensed_data.methods.coresets import Init, Random
from condensed_data.training.context import Context

ROWS = 1024


@dataclass(frozen=True)
class Frequency(SyntheticSpec):
    """The coefficients of the frequencies that vary most among the real samples of the class.

    Of each channel, k = round(share * F) frequencies are kept, at least one: those of greatest variance over the
    samples of the class. A class then has floor(ipc * F / k) samples for the budget of `ipc` whole ones. As in the
    paper, this counts the coefficients and not which ones they are; `stored_floats` counts both, the latter as one
    bit for each frequency.

    Args:
        share: of the frequencies that is kept, in (0, 1]; the authors keep 64 of 1,024 for CIFAR-10 at ipc 1.
        init: where the samples begin, without the frequencies that are not kept.

    Raises:
        ValueError: for a share out of range; from `check`, for vectors.
    """

    share: float = 1 / 16
    init: Init = field(default_factory=Random)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"Frequency(share={self.share!r}) must be in (0, 1]: the part that is kept.")

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Refuse samples without sides to transform along."""
        if len(sample_shape) < 2:
            raise ValueError(
                f"Frequency transforms images (C, H, W) and signals (C, L), not vectors of shape {sample_shape}. "
                "Use Pixels."
            )

    def start(self, context: Context) -> SyntheticData:
        shape = context.real.sample_shape
        self.check(shape)
        total = prod(shape[1:])
        kept = max(1, round(self.share * total))
        sizes = torch.tensor(context.real.group_sizes(context.ipc * total // kept))
        groups = torch.arange(len(sizes)).repeat_interleave(sizes)
        labels = context.real.group_class[groups]
        places = torch.stack(
            [_most_varying(context, label, kept) for label in range(context.real.num_classes)]
        )
        whole = transform(self.init.samples(context, sizes.tolist()).detach()).flatten(2)
        coefficients = whole.gather(2, places[labels].to(whole.device)).requires_grad_()
        return _Transformed(coefficients, places, labels, groups, shape)

    def restore(
        self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]
    ) -> SyntheticData:
        bits = torch.from_numpy(np.unpackbits(tensors["mask"].numpy(), axis=2))
        kept = tensors["coefficients"].shape[2]
        places = bits.nonzero()[:, 2].view(*bits.shape[:2], kept)
        return _Transformed(tensors["coefficients"], places, labels, labels, sample_shape)


class _Transformed(SyntheticData):
    def __init__(
        self, coefficients: Tensor, places: Tensor, labels: Tensor, groups: Tensor, shape: tuple[int, ...]
    ) -> None:
        self.coefficients, self.places, self.shape = coefficients, places, shape
        self.labels, self.groups = labels, groups
        self.learned = {"coefficients": coefficients}

    def decode(self, index: Tensor) -> Tensor:
        rows = self.coefficients[to_device(index, self.coefficients.device)]
        places = to_device(self.places[self.labels[index]], rows.device)
        whole = rows.new_zeros(*rows.shape[:2], prod(self.shape[1:])).scatter(2, places, rows)
        return transform(whole.view(-1, *self.shape), inverse=True)

    def tensors(self) -> dict[str, Tensor]:
        bits = torch.zeros(*self.places.shape[:2], prod(self.shape[1:]), dtype=torch.uint8)
        mask = np.packbits(bits.scatter(2, self.places, 1).numpy(), axis=2)
        return {"coefficients": self.coefficients.detach().cpu(), "mask": torch.from_numpy(mask)}

    @property
    def stored_floats(self) -> int:
        bits = prod(self.places.shape[:2]) * prod(self.shape[1:])
        return self.coefficients.numel() + -(-bits // 32)


def transform(samples: Tensor, inverse: bool = False) -> Tensor:
    """Orthonormal cosine transform (DCT-II) along every side of samples (N, C, ...), or back."""
    for dim in range(2, samples.dim()):
        matrix = to_device(_cosines(samples.shape[dim]), samples.device, samples.dtype)
        samples = (samples.movedim(dim, -1) @ (matrix if inverse else matrix.T)).movedim(-1, dim)
    return samples.contiguous()


def _cosines(side: int) -> Tensor:
    """(side, side) float64: row f is the cosine of frequency f, of length 1."""
    at = torch.arange(side, dtype=torch.float64)
    rows = torch.cos(torch.pi / side * (at + 0.5) * at[:, None]) * (2 / side) ** 0.5
    rows[0] /= 2**0.5
    return rows


def _most_varying(context: Context, label: int, kept: int) -> Tensor:
    """(C, k) places of the frequencies with the greatest variance in a class, increasing."""
    total = squares = torch.zeros((), dtype=torch.float64)
    count = 0
    for rows in _samples(context.real, label):
        whole = transform(rows.double().cpu()).flatten(2)
        total, squares, count = total + whole.sum(0), squares + whole.square().sum(0), count + len(whole)
    variance = squares / count - (total / count).square()
    return variance.argsort(dim=1, descending=True, stable=True)[:, :kept].sort(1).values


def _samples(real: RealData, label: int) -> Iterator[Tensor]:
    members: Sequence[Tensor] = [
        rows for rows, of in zip(real.members, real.group_class.tolist(), strict=True) if of == label
    ]
    for index in torch.cat(list(members)).split(ROWS):
        yield real[index]
