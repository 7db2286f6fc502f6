"""Pairs of synthetic samples that are made of the same code by two decoders.

Letters: G groups, B pairs of a group.
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
    """Per group: its codes through one decoder, then the same codes through another, and no real samples.

    The two decoders are drawn anew each iteration, the same for all groups, as in HaBa (Liu S. et al., NeurIPS 2022,
    https://arxiv.org/abs/2210.16774, section 3.3). The first half of a block and its second are paired row by row.

    Args:
        codes: at most this many codes of a group and iteration, drawn at random; None for all.

    Raises:
        ValueError: unless `codes` is positive; when the run starts, for samples that have no siblings.
    """

    codes: int | None = None

    def __post_init__(self) -> None:
        if self.codes is not None:
            check_count("DecoderPairs", "codes", self.codes)

    def start(self, context: Context, synthetic_data: SyntheticData) -> SamplerState:
        check_decoder_pairs("DecoderPairs", synthetic_data)
        return _DecoderPairsState(synthetic_data, self.codes, context.rng)


def check_decoder_pairs(part: str, synthetic_data: SyntheticData) -> None:
    """Refuse samples of which no two share a code."""
    if synthetic_data.decoders_per_code < 2:
        raise ValueError(
            f"Cannot use {part} with these synthetic samples: no two share a code. Use Factorized(decoders=2) or more."
        )


def pairs(
    synthetic_data: SyntheticData, rng: RandomStreams, iteration: int, group: int, codes: int | None = None
) -> tuple[Tensor, Tensor]:
    """Indices (B,) of a group's samples by one decoder, and of the same codes by another."""
    count = synthetic_data.decoders_per_code
    members = (synthetic_data.groups == group).nonzero()[:, 0]
    made = members.view(-1, count, synthetic_data.rows_per_decoder)  # of every code, by every decoder
    if codes is not None and codes < len(made):
        made = made[rng.choice("codes of a pair", iteration, group, len(made), codes)]
    one, other = rng.numpy("decoders of a pair", iteration).permutation(count)[:2].tolist()
    return made[:, one].flatten(), made[:, other].flatten()


@dataclass
class _DecoderPairsState(SamplerState):
    synthetic_data: SyntheticData
    codes: int | None
    rng: RandomStreams
    ahead: ClassVar[bool] = True

    def draw(self, iteration: int, groups: Sequence[int]) -> PairIndices:
        blocks = [
            torch.cat(pairs(self.synthetic_data, self.rng, iteration, group, self.codes)) for group in groups
        ]
        none = torch.zeros(0, dtype=torch.int64)
        return PairIndices(
            none, (0,) * len(groups), torch.cat(blocks), tuple(map(len, blocks)), tuple(groups)
        )
