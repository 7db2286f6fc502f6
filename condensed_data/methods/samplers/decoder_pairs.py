"""Pairs of synthetic samples that two decoders make of the same code.

Letters: B pairs of all groups of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.core.rng import RandomStreams
from condensed_data.core.validation import check_count
from condensed_data.methods.base import PairIndices, Sampler, SamplerState, SyntheticData
from condensed_data.training.context import Context


@dataclass(frozen=True)
class DecoderPairs(Sampler):
    """Pairs of samples that two decoders make from the same codes; no real samples.

    Two random decoders are used in each iteration, as in HaBa (Liu S. et al., NeurIPS 2022,
    https://arxiv.org/abs/2210.16774, section 3.3). Pairs form one block of 2 B rows, for which an augmentation draws
    one operation as the authors do: row i and row B + i are a pair.

    Args:
        codes: at most this many random codes per group and iteration; None for all.

    Raises:
        ValueError: when the run starts, for synthetic data with fewer than two decoders per code.
    """

    codes: int | None = None

    def __post_init__(self) -> None:
        check_count("DecoderPairs", "codes", self.codes, optional=True)

    def start(self, context: Context, synthetic_data: SyntheticData) -> SamplerState:
        check_decoder_pairs("DecoderPairs", synthetic_data)
        return _DecoderPairsState(synthetic_data, self.codes, context.rng)


def check_decoder_pairs(part: str, synthetic_data: SyntheticData) -> None:
    """Raise ValueError for synthetic data with fewer than two decoders per code; `part` is named in the message."""
    if synthetic_data.decoders_per_code < 2:
        raise ValueError(f"{part} needs at least two decoders per code. Use Factorized(decoders=2) or more.")


def pairs(
    synthetic_data: SyntheticData, rng: RandomStreams, iteration: int, groups: Sequence[int], codes: int | None = None
) -> Tensor:
    """Indices (2 B,) of samples from one decoder, and then of those that another makes of the same codes."""
    decoders = synthetic_data.decoders_per_code
    first, second = rng.numpy("decoders of a pair", iteration).permutation(decoders)[:2].tolist()
    chosen = []
    for group in groups:
        members = (synthetic_data.groups == group).nonzero()[:, 0]
        by_code = members.view(-1, decoders, synthetic_data.rows_per_decoder)
        if codes is not None and codes < len(by_code):
            by_code = by_code[rng.choice("codes of a pair", iteration, group, len(by_code), codes)]
        chosen.append(by_code)
    rows = torch.cat(chosen)
    return torch.cat([rows[:, first].flatten(), rows[:, second].flatten()])


@dataclass
class _DecoderPairsState(SamplerState):
    synthetic_data: SyntheticData
    codes: int | None
    rng: RandomStreams
    can_prefetch: ClassVar[bool] = True

    def draw(self, iteration: int, groups: Sequence[int]) -> PairIndices:
        index = pairs(self.synthetic_data, self.rng, iteration, groups, self.codes)
        return PairIndices(torch.zeros(0, dtype=torch.int64), (0,), index, (len(index),), (groups[0],))
