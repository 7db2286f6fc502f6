"""Compact storage for samples: quantized, at reduced resolution, with no reference to their source.

Letters: n samples, C channels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from condensed_data.methods.synthetic.multi_formation import upsample

DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32)
LABEL_BYTES = 8  # class and task of a block of samples, 4 bytes each


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
