"""What the host draws of an iteration before the device computes: who meets whom, and how both are augmented."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from condensed_data.core.batch import Batch, Pair
from condensed_data.core.device import to_device
from condensed_data.data.augment import AugmentFn
from condensed_data.methods.base import PairIndices, SyntheticData
from condensed_data.training.context import Context


@dataclass(frozen=True)
class StepInputs:
    """Real and synthetic samples that meet in one iteration.

    Attributes:
        iteration: its number.
        draw: who meets whom.
        labels: of the real samples, (B,).
        applied: the augmentation of both sides.
        fetched: the real samples, where they do not lie on the device.
    """

    iteration: int
    draw: PairIndices
    labels: Tensor
    applied: AugmentFn
    fetched: Tensor | None = None

    def pair(self, context: Context, synthetic_data: SyntheticData) -> Pair:
        """Both sides on the device, augmented."""
        draw, device = self.draw, context.device
        rows = context.real[draw.real] if self.fetched is None else self.fetched
        first = Batch(to_device(rows, device), to_device(self.labels, device), draw.real_sizes)
        second = Batch(
            synthetic_data.decode(draw.synthetic),
            synthetic_data.targets(draw.synthetic),
            draw.synthetic_sizes,
        )
        if draw.steps is None:
            first = replace(first, x=self.applied(first))
        return Pair(first, replace(second, x=self.applied(second)), synthetic_data.step_sizes, self.iteration)
