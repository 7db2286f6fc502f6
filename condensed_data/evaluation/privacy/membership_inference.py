"""Membership inference: how well a score separates the samples of the source from others of the same kind.

The score is compared over all pairs of a member and a held-out sample (area under the ROC curve, with the interval of
DeLong et al., Biometrics 1988), and at a low false positive rate (Carlini et al., Membership Inference Attacks From
First Principles, 2022, https://arxiv.org/abs/2112.03570): an attack that is right about a few samples only is an
attack nevertheless.

Letters: m members, n held-out samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import rankdata
from torch import Tensor

from condensed_data.core.torch_settings import own_settings

FALSE_POSITIVE_RATE = 0.01
Z = 1.959964  # of a two-sided interval of 95 %


@dataclass(frozen=True)
class MembershipInference:
    """How well one score finds members.

    Attributes:
        name: of the score.
        auc: probability that a member scores higher than a held-out sample; 0.5 is chance.
        low, high: its 95 % interval, within [0, 1].
        found: fraction of members that score higher than all but 1 % of the held-out samples; 0.01 is chance.
        certain: number of members that score higher than every held-out sample.
        members, heldout: numbers of samples compared.
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
            f"{self.name}: AUC {self.auc:.3f}, 95 % interval [{self.low:.3f}, {self.high:.3f}] (chance: 0.5); "
            f"{100 * self.found:.2f} % of members found at {100 * FALSE_POSITIVE_RATE:g} % false positives; "
            f"{self.certain:,} of {self.members:,} members above all {self.heldout:,} held-out samples"
        )


@own_settings()
def roc(name: str, members: Tensor, heldout: Tensor) -> MembershipInference:
    """Compare the scores of members (m,) with those of held-out samples (n,).

    Raises:
        ValueError: for fewer than two of either, or scores that are not finite.
    """
    if min(len(members), len(heldout)) < 2:
        raise ValueError(
            f"{len(members)} members and {len(heldout)} held-out samples cannot be compared: give 2 or more of each."
        )
    scores = torch.cat([members, heldout]).double()
    if not bool(scores.isfinite().all()):
        raise ValueError(f"{name}: some scores are NaN or infinite. Check the samples for such values.")
    members, heldout = scores.split([len(members), len(heldout)])
    above, below = _placements(members, heldout), 1 - _placements(heldout, members)
    auc = float(above.mean())
    deviation = math.sqrt(float(above.var() / len(members) + below.var() / len(heldout)))
    limit = heldout.quantile(1 - FALSE_POSITIVE_RATE, interpolation="higher")
    return MembershipInference(
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
    """Fraction of `others` below each score, by mid-ranks: equal ones count half."""
    among_all = torch.from_numpy(rankdata(torch.cat([scores, others]).numpy()))[: len(scores)]
    return (among_all - torch.from_numpy(rankdata(scores.numpy()))) / len(others)
