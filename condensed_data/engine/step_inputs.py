"""What the host draws of an iteration before the device computes: who meets whom, and how both are augmented."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from condensed_data.core.batch import Batch, Pair
from condensed_data.core.device import sent
from condensed_data.methods.base import Applied, Context, Draw, Synthesis


@dataclass(frozen=True)
class Meeting:
    """Real and synthetic samples that meet in one iteration.

    Attributes:
        iteration: its number.
        draw: who meets whom.
        labels: of the real samples, (B,).
        applied: the augmentation of both sides.
        fetched: the real samples, where they do not lie on the device.
    """

    iteration: int
    draw: Draw
    labels: Tensor
    applied: Applied
    fetched: Tensor | None = None

    def pair(self, context: Context, synthesis: Synthesis) -> Pair:
        """Both sides on the device, augmented."""
        draw, device = self.draw, context.device
        rows = context.real[draw.real] if self.fetched is None else self.fetched
        first = Batch(sent(rows, device), sent(self.labels, device), draw.real_sizes)
        second = Batch(
            synthesis.decode(draw.synthetic), synthesis.targets(draw.synthetic), draw.synthetic_sizes
        )
        if draw.steps is None:
            first = replace(first, x=self.applied(first))
        return Pair(first, replace(second, x=self.applied(second)), synthesis.step_sizes, self.iteration)
