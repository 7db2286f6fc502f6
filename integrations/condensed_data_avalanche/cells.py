"""The samples that a memory holds of one class and task."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from condensed_data_avalanche.quantized import QuantizedSamples

Key = tuple[int, int]  # class and task


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
