"""Cross-entropy of the synthetic samples: the regularizer of IDM, and the calibration of DANCE and NCFM.

Letters: B rows of a batch, K classes, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.batch import NetworkView, Pair
from condensed_data.methods.base import Objective

PERCENT = 100.0


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Sum over groups of the mean cross-entropy of the group's synthetic samples.

    IDM (Zhao G. et al., CVPR 2023, https://arxiv.org/abs/2307.09742) adds it to distribution matching, times the
    accuracy of the network, so that poor networks contribute little. The authors' code measures the accuracy in
    percent, which their weights (0.5 for CIFAR-10) assume. DANCE and NCFM add the plain sum under a network trained on
    the real data. Deviation: for one sample per class without partition and expansion, IDM's code skips correctly
    classified samples; here all count.

    Args:
        scale_by_accuracy: multiply by the network's accuracy in percent, 0 to 100 (100 times `NetworkView.accuracy`);
            the pool must measure it.

    Raises:
        ValueError: when called with `scale_by_accuracy`, for a network without a measured accuracy.
    """

    scale_by_accuracy: bool = False
    reads_labels: ClassVar[bool] = True

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        side = pair.synthetic
        loss = side.means(cross_entropy(net.logits(side.x), side.y)).sum()
        if not self.scale_by_accuracy:
            return loss
        if net.accuracy is None:
            raise ValueError(
                "Cannot use CrossEntropy(scale_by_accuracy=True) with this pool: it does not measure the accuracy of "
                "its networks. Use a pool that trains on real data, or scale_by_accuracy=False."
            )
        return loss * (PERCENT * net.accuracy)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each row, (B,), from logits (B, K) and labels (B,) int64 or probabilities (B, K)."""
    target = y.to(logits.dtype) if y.is_floating_point() else y
    return F.cross_entropy(logits, target, reduction="none")
