"""How many samples fit into a budget of bytes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

from condensed_data.methods.synthetic.multi_formation import cell_sides
from condensed_data_avalanche.quantized import LABEL_BYTES

SCALE_BYTES = 4  # of one number of a block's affine map


@dataclass(frozen=True)
class StorageLayout:
    """How a memory stores its samples.

    Attributes:
        shape: of a sample at full size.
        factor: samples are stored at 1/factor of their sides.
        dtype: of stored values.
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
