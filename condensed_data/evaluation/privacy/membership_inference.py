"""Membership inference: how well a score tells samples that a set was made of from others of the same kind.

The score is compared over all pairs of a member and a held-out sample (area under the ROC curve, with the interval of
DeLong et al., Biometrics 1988), and where nearly no alarm is false (Carlini et al., Membership Inference Attacks From
First Principles, 2022, https://arxiv.org/abs/2112.03570): an attack that is right about a few samples only is an
attack.

Letters: m members, n held-out samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FALSE_ALARMS = 0.01
Z = 1.959964  # of a two-sided interval of 95 %


@dataclass(frozen=True)
class Attack:
    """How well one score finds members.

    Attributes:
        name: what the score is.
        auc: probability that a member scores higher than a held-out sample; 0.5 is chance.
        low, high: its 95 % interval, within [0, 1].
        found: share of members that score higher than all but 1 % of the held-out samples; 0.01 is chance.
        certain: members that score higher than every held-out sample.
        members, heldout: samples compared.
    """

    name: str
    auc: float
    low: float
    high: float
    found: float
    certain: int
    members: int
    heldout: int

    def __str__(self) -> str:
        return (
            f"{self.name}: AUC {self.auc:.3f}, 95 % within [{self.low:.3f}, {self.high:.3f}] (chance: 0.5); "
            f"{100 * self.found:.2f} % of members found at {100 * FALSE_ALARMS:g} % false alarms; "
            f"{self.certain:,} of {self.members:,} members above all {self.heldout:,} held-out samples"
        )


def roc(name: str, members: Tensor, heldout: Tensor) -> Attack:
    """Compare scores of members (m,) with those of held-out samples (n,).

    Raises:
        ValueError: for fewer than two of either, or scores that are not finite.
    """
    if min(len(members), len(heldout)) < 2:
        raise ValueError(
            f"{len(members)} members and {len(heldout)} held-out samples cannot be compared: give 2 or more of each."
        )
    members, heldout = members.double(), heldout.double()
    if not (bool(torch.isfinite(members).all()) and bool(torch.isfinite(heldout).all())):
        raise ValueError(f"{name}: scores are NaN or infinite. Look for such values in the samples.")
    above, below = _placements(members, heldout), 1 - _placements(heldout, members)
    auc = float(above.mean())
    deviation = math.sqrt(float(above.var() / len(members) + below.var() / len(heldout)))
    limit = heldout.quantile(1 - FALSE_ALARMS, interpolation="higher")
    return Attack(
        name,
        auc,
        max(0.0, auc - Z * deviation),
        min(1.0, auc + Z * deviation),
        float((members > limit).double().mean()),
        int((members > heldout.max()).sum()),
        len(members),
        len(heldout),
    )


def _placements(scores: Tensor, others: Tensor) -> Tensor:
    """Share of `others` below each score; equal ones count half."""
    ordered = others.sort().values
    below = torch.searchsorted(ordered, scores)
    upto = torch.searchsorted(ordered, scores, right=True)
    return (below + upto).double() / (2 * len(others))
