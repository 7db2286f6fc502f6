"""The result of `measure`: distances to real samples and membership inference, as values, text and an image.

Letters: N condensed samples, m members (samples of the source), n held-out samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.sizes import percent
from condensed_data.core.torch_settings import doors, own_settings
from condensed_data.evaluation.privacy.membership_inference import MembershipInference
from condensed_data.plotting import grid as plots

TOO_NEAR = 0.01
PAIRS_PER_ROW = 10


@doors
@dataclass(frozen=True)
class Privacy:
    """Distances are root mean squared differences per value, in standard deviations of the source.

    Attributes:
        distances: (N,) from each condensed sample to the nearest member.
        members: (N,) index of that member in the source.
        to_heldout: (N,) from each condensed sample to the nearest held-out sample.
        reference: from held-out samples to their nearest members: how near new real samples are.
        attacks: membership inference, one result per attack.
        source_samples, heldout_samples: m and n.
        condensed, nearest: (N, *sample) the condensed samples and those members, in the source's value space.
        value_range: of that space, if it has one.
    """

    distances: Tensor
    members: Tensor
    to_heldout: Tensor
    reference: Tensor
    attacks: tuple[MembershipInference, ...]
    source_samples: int
    heldout_samples: int
    condensed: Tensor
    nearest: Tensor
    value_range: tuple[float, float] | None = None

    @property
    @own_settings()
    def too_near(self) -> int:
        """Number of condensed samples that are nearer to a member than 99 % of held-out samples are."""
        return int((self.distances < self.reference.quantile(TOO_NEAR)).sum())

    @property
    @own_settings()
    def nearer_to_members(self) -> float:
        """Fraction of condensed samples that are nearer to a member than to any held-out sample; a tie counts half."""
        nearer, equal = self.distances < self.to_heldout, self.distances == self.to_heldout
        return float((nearer.double() + equal.double() / 2).mean())

    @property
    def chance(self) -> float:
        """The value of `nearer_to_members` for samples that are independent of who was a member."""
        return self.source_samples / (self.source_samples + self.heldout_samples)

    def __str__(self) -> str:
        count = len(self.distances)
        lines = [
            f"Privacy of {count:,} condensed samples; {self.source_samples:,} samples of the source (members), "
            f"{self.heldout_samples:,} held-out samples",
            "  distance to the nearest sample, in standard deviations of the source per value (minimum, median):",
            f"    condensed to members    {_minimum_and_median(self.distances)}",
            f"    condensed to held-out   {_minimum_and_median(self.to_heldout)}",
            f"    held-out to members     {_minimum_and_median(self.reference)}",
            f"  nearest real sample is a member: {percent(self.nearer_to_members)} of the condensed samples "
            f"(chance: {percent(self.chance)})",
            f"  nearer to a member than {100 * (1 - TOO_NEAR):g} % of the held-out samples are: {self.too_near:,} of "
            f"{count:,}",
            "  membership inference",
        ]
        return "\n".join([*lines, *(f"    {attack}" for attack in self.attacks)])

    def plot(self, path: Any = None, pairs: int = 20) -> Any:
        """An image of the closest pairs, condensed samples above real ones, also written to `path` if given."""
        order = self.distances.argsort(stable=True)[:pairs]
        images: list[Tensor] = []
        names: list[str] = []
        row_of: list[int] = []
        for some in order.split(PAIRS_PER_ROW):
            first, last = float(self.distances[some[0]]), float(self.distances[some[-1]])
            for side, name in ((self.condensed, "condensed"), (self.nearest, f"real, {first:.2f} to {last:.2f}")):
                row_of += [len(names)] * len(some)
                names.append(name)
                images.append(side[some])
        image = plots.grid(
            torch.cat(images),
            row_of,
            names,
            per_class=None,
            max_classes=len(names),
            title=f"{len(order)} closest pairs: condensed samples above real ones, with distances",
            value_range=self.value_range,
        )
        if path is not None:
            plots.save(image, path)
        return image


def _minimum_and_median(distances: Tensor) -> str:
    return f"{float(distances.min()):.3f}, {float(distances.median()):.3f}"
