"""The samples and augmentation of one step: drawn on the host, then moved to the device."""

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
    """What is drawn for one comparison of real and synthetic samples.

    Attributes:
        iteration: its number.
        indices: of the real and the synthetic samples.
        labels: of the real samples, (B,).
        augment: the augmentation of both sides.
        real: the real samples, if they were prefetched.
    """

    iteration: int
    indices: PairIndices
    labels: Tensor
    augment: AugmentFn
    real: Tensor | None = None

    def materialize(self, context: Context, synthetic_data: SyntheticData) -> Pair:
        """Both sides on the device, augmented."""
        indices, device = self.indices, context.device
        rows = context.real[indices.real] if self.real is None else self.real
        real = Batch(to_device(rows, device), to_device(self.labels, device), indices.real_sizes)
        synthetic = Batch(
            synthetic_data.decode(indices.synthetic),
            synthetic_data.targets(indices.synthetic),
            indices.synthetic_sizes,
        )
        if indices.steps is None:
            real = replace(real, x=self.augment(real))
        synthetic = replace(synthetic, x=self.augment(synthetic))
        return Pair(real, synthetic, synthetic_data.step_sizes, self.iteration)
