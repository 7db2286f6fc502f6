"""Samples as a memory keeps them: few bytes, nothing of where they came from.

Letters: n samples, C channels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from condensed_data.methods.synthetic.multi_formation import cell_sides, enlarge

DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)
LABEL_BYTES = 8  # class and task of a block of samples, 4 bytes each
SCALE_BYTES = 4  # of one number of a block's affine map


@dataclass(frozen=True, eq=False)
class QuantizedSamples:
    """Samples of one class and task.

    Attributes:
        codes: (n, *small) in the storage's type. Of uint8, value = code * step + offset, channel by channel.
        offset, step: (C,) float32 for uint8, else empty.
        shape: of a decoded sample; that of `codes` may have smaller sides.
        real: the first `real` samples are real ones, in random order.
        logits: (n, K) float16, or None.
    """

    codes: Tensor
    offset: Tensor
    step: Tensor
    shape: tuple[int, ...]
    real: int = 0
    logits: Tensor | None = None

    @staticmethod
    def of(
        small: Tensor,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        real: int = 0,
        logits: Tensor | None = None,
    ) -> QuantizedSamples:
        """Store samples (n, *small) of any float type in tensors of their own."""
        small = small.detach().cpu().float()
        kept = None if logits is None else logits.detach().cpu().to(torch.float16).clone()
        if dtype != torch.uint8:
            return QuantizedSamples(
                small.to(dtype).clone(), torch.empty(0), torch.empty(0), shape, real, kept
            )
        channels = small.transpose(0, 1).flatten(1)
        low, high = (channels.amin(1), channels.amax(1)) if len(small) else (torch.zeros(shape[0]),) * 2
        step = ((high - low) / 255).clamp_min(torch.finfo(torch.float32).tiny)
        codes = ((small - _like(low, small)) / _like(step, small)).round().clamp_(0, 255)
        return QuantizedSamples(codes.to(torch.uint8), low, step, shape, real, kept)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, and of the class and task that they share."""
        tensors = (self.codes, self.offset, self.step, self.logits)
        return LABEL_BYTES + sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def small(self) -> Tensor:
        """(n, *small) float32 in the source's value space."""
        values = self.codes.float()
        return values * _like(self.step, values) + _like(self.offset, values) if len(self.step) else values

    def decode(self) -> Tensor:
        """(n, *shape) float32 in the source's value space."""
        small = self.small()
        return small if small.shape[1:] == self.shape else enlarge(small, self.shape[1:])

    def take(self, index: Tensor, real: int) -> QuantizedSamples:
        """Some of the samples; the first `real` of them are real ones."""
        logits = None if self.logits is None else self.logits[index].clone()
        return replace(self, codes=self.codes[index].clone(), real=real, logits=logits)


def sample_bytes(shape: tuple[int, ...], factor: int, dtype: torch.dtype) -> int:
    """Bytes of the values of one sample at 1/factor of its sides."""
    small = shape if factor == 1 else (shape[0], *cell_sides(factor, shape))
    return prod(small) * dtype.itemsize


def block_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Bytes of one class and task on top of its samples: labels, and for uint8 an affine map per channel."""
    return LABEL_BYTES + (2 * SCALE_BYTES * shape[0] if dtype == torch.uint8 else 0)


def _like(values: Tensor, samples: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (samples.dim() - 2))
