"""Diversity of the samples that different decoders make of one code: HaBa's adversarial contrastive constraint.

Liu S. et al., NeurIPS 2022, https://arxiv.org/abs/2210.16774, section 3.3, and the authors' code.

Letters: B pairs, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.batch import NetworkView, Pair
from condensed_data.methods.base import Objective


@dataclass(frozen=True)
class Diversity(Objective):
    """Mean over pairs of (1 + cosine of the two embeddings) / 2: samples of one code should differ.

    It needs the pairs of the `DecoderPairs` sampler and the `Critic` pool, whose network is trained to embed samples of
    one code similarly. The published weight is 0.1.

    Raises:
        ValueError: for blocks that are not pairs.
    """

    separable: ClassVar[bool] = False

    def check_sizes(self, real: Sequence[int], synthetic: Sequence[int]) -> None:
        if any(size % 2 for size in synthetic):
            raise ValueError("Diversity needs pairs of samples. Use the DecoderPairs sampler.")

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        self.check_sizes(pair.real.sizes, pair.synthetic.sizes)
        halves = [block.chunk(2) for block in pair.synthetic.split(net.embed(pair.synthetic.x))]
        first, second = (torch.cat(side) for side in zip(*halves, strict=True))
        return (1 + F.cosine_similarity(first, second)).mean() / 2


def supervised_contrast(features: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss: Khosla et al., NeurIPS 2020, https://arxiv.org/abs/2004.11362, equation 2.

    Args:
        features: (B, D), which are normalized here.
        y: (B,) class indices, each at least twice.
        temperature: positive.

    Returns:
        The mean over anchors of minus the mean log-probability of their positives.
    """
    z = F.normalize(features)
    same_row = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(same_row, -torch.inf)
    positive = (y[:, None] == y[None, :]) & ~same_row
    log_p = logits.log_softmax(1).masked_fill(~positive, 0.0)
    return -(log_p.sum(1) / positive.sum(1)).mean()
