"""Pairs of synthetic samples that are made of the same code by two decoders.

Letters: G groups, B pairs of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.core.rng import Streams
from condensed_data.methods.base import Context, Draw, Drawer, Sampler, Synthesis
from condensed_data.training.sgd import check_count


@dataclass(frozen=True)
class Siblings(Sampler):
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
            check_count("Siblings", "codes", self.codes)

    def start(self, context: Context, synthesis: Synthesis) -> Drawer:
        check_siblings("Siblings", synthesis)
        return _SiblingDrawer(synthesis, self.codes, context.streams)


def check_siblings(part: str, synthesis: Synthesis) -> None:
    """Refuse samples of which no two share a code."""
    if synthesis.siblings < 2:
        raise ValueError(
            f"Cannot use {part} with these synthetic samples: no two share a code. Use Factorized(decoders=2) or more."
        )


def pairs(
    synthesis: Synthesis, streams: Streams, iteration: int, group: int, codes: int | None = None
) -> tuple[Tensor, Tensor]:
    """Indices (B,) of a group's samples by one decoder, and of the same codes by another."""
    count = synthesis.siblings
    members = (synthesis.groups == group).nonzero()[:, 0]
    made = members.view(-1, count, synthesis.sibling_rows)  # of every code, by every decoder
    if codes is not None and codes < len(made):
        made = made[streams.choose("codes of a pair", iteration, group, len(made), codes)]
    one, other = streams.numpy("decoders of a pair", iteration).permutation(count)[:2].tolist()
    return made[:, one].flatten(), made[:, other].flatten()


@dataclass
class _SiblingDrawer(Drawer):
    synthesis: Synthesis
    codes: int | None
    streams: Streams
    ahead: ClassVar[bool] = True

    def draw(self, iteration: int, groups: Sequence[int]) -> Draw:
        blocks = [
            torch.cat(pairs(self.synthesis, self.streams, iteration, group, self.codes)) for group in groups
        ]
        none = torch.zeros(0, dtype=torch.int64)
        return Draw(none, (0,) * len(groups), torch.cat(blocks), tuple(map(len, blocks)), tuple(groups))
