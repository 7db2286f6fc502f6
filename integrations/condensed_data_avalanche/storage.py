"""Compact storage for samples: quantized, at reduced resolution, with no reference to their source; and its size.

Letters: n samples, C channels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

import torch
from torch import Tensor

from condensed_data.methods.synthetic.multi_formation import cell_sides, upsample

DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)
LABEL_BYTES = 8  # class and task of a block of samples, 4 bytes each
SCALE_BYTES = 4  # of one number of a block's affine map
Key = tuple[int, int]  # class and task


@dataclass(frozen=True, eq=False)
class QuantizedSamples:
    """Samples of one class and task.

    Attributes:
        codes: (n, *stored) in the storage dtype. For uint8, value = code * step + offset for each channel.
        offset, step: (C,) float32 for uint8, else empty.
        shape: of a decoded sample; `codes` may have smaller sides.
        real: number of real samples; they come first, in random order.
        logits: (n, K) float16, or None.
    """

    codes: Tensor
    offset: Tensor
    step: Tensor
    shape: tuple[int, ...]
    real: int = 0
    logits: Tensor | None = None

    @staticmethod
    def quantize(
        samples: Tensor,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        real: int = 0,
        logits: Tensor | None = None,
    ) -> QuantizedSamples:
        """Copy samples (n, *stored) of any floating dtype into storage."""
        samples = samples.detach().cpu().float()
        logits = None if logits is None else logits.detach().cpu().to(torch.float16).clone()
        if dtype != torch.uint8:
            codes = samples.to(dtype).clone()
            return QuantizedSamples(codes, torch.empty(0), torch.empty(0), shape, real, logits)
        channels = samples.transpose(0, 1).flatten(1)
        low, high = (channels.amin(1), channels.amax(1)) if len(samples) else (torch.zeros(shape[0]),) * 2
        step = ((high - low) / 255).clamp_min(torch.finfo(torch.float32).tiny)
        codes = ((samples - _per_channel(low, samples)) / _per_channel(step, samples)).round()
        return QuantizedSamples(codes.clamp_(0, 255).to(torch.uint8), low, step, shape, real, logits)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, plus the class and task that the samples share."""
        tensors = (self.codes, self.offset, self.step, self.logits)
        return LABEL_BYTES + sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def dequantize(self) -> Tensor:
        """Samples (n, *stored) float32 at stored resolution, in the source's value space."""
        values = self.codes.float()
        if not len(self.step):
            return values
        return values * _per_channel(self.step, values) + _per_channel(self.offset, values)

    def decode(self) -> Tensor:
        """Samples (n, *shape) float32 at full resolution, in the source's value space."""
        values = self.dequantize()
        return values if values.shape[1:] == self.shape else upsample(values, self.shape[1:])

    def take(self, index: Tensor, real: int) -> QuantizedSamples:
        """Select samples by index; the first `real` of the selected ones are real."""
        logits = None if self.logits is None else self.logits[index].clone()
        return replace(self, codes=self.codes[index].clone(), real=real, logits=logits)


def _per_channel(values: Tensor, samples: Tensor) -> Tensor:
    """Values (C,) reshaped to broadcast over samples (n, C, ...)."""
    return values.view(1, -1, *[1] * (samples.dim() - 2))


@dataclass
class Cell:
    """One class of one task.

    Attributes:
        kept: condensed samples, or real ones that are few enough to keep all.
        staged: real samples that came later, at full size.
        seen: real samples seen so far.
        limit: most samples that the cell may yield.
    """

    kept: QuantizedSamples | None = None
    staged: list[QuantizedSamples] = field(default_factory=list)
    seen: int = 0
    limit: int = 0

    @property
    def num_kept(self) -> int:
        """Number of kept samples."""
        return 0 if self.kept is None else len(self.kept)

    @property
    def num_staged(self) -> int:
        """Number of staged samples."""
        return sum(map(len, self.staged))

    @property
    def nbytes(self) -> int:
        """Bytes of kept and staged samples."""
        return sum(part.nbytes for part in (self.kept, *self.staged) if part is not None)

    def decode(self) -> list[Tensor]:
        """The samples that the cell yields, in parts of (n, *shape) float32; staged ones fill what `limit` leaves."""
        parts = [] if self.kept is None else [self.kept.decode()]
        room = self.limit - self.num_kept
        for part in self.staged:
            if room > 0:
                parts.append(part.decode()[:room])
                room -= len(parts[-1])
        return parts


@dataclass(frozen=True)
class StorageLayout:
    """How a memory stores its samples.

    Attributes:
        shape: of a sample at full size.
        factor, dtype: see `CondensedBuffer`.
        staged: real samples at full size that may wait to be condensed.
    """

    shape: tuple[int, ...]
    factor: int
    dtype: torch.dtype
    staged: int = 0

    @property
    def sample_bytes(self) -> int:
        """Bytes of one stored sample."""
        return self._bytes(self.shape if self.factor == 1 else (self.shape[0], *cell_sides(self.factor, self.shape)))

    @property
    def block_bytes(self) -> int:
        """Bytes of one class and task on top of its samples: labels, and for uint8 an affine map per channel."""
        return LABEL_BYTES + (2 * SCALE_BYTES * self.shape[0] if self.dtype == torch.uint8 else 0)

    def samples_within(self, budget: int, cells: int) -> int:
        """Samples that fit into `budget` bytes with `cells` pairs of class and task; negative if not even these fit."""
        staged = self.staged * (self._bytes(self.shape) + self.block_bytes)
        return (budget - staged - cells * self.block_bytes) // self.sample_bytes

    def _bytes(self, shape: tuple[int, ...]) -> int:
        return prod(shape) * self.dtype.itemsize
