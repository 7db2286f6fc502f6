"""Draws condensed samples above the real ones that they are nearest to.

Letters: M pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from condensed_data.plotting import grid as plots

PAIRS_PER_ROW = 10


def pairs(
    condensed: Tensor,
    real: Tensor,
    distances: Sequence[float],
    *,
    value_range: tuple[float, float] | None = None,
) -> Image.Image:
    """Draw pairs side by side, in the given order: two rows for every ten.

    Args:
        condensed: (M, *sample); real: (M, *sample), in the same value space.
        distances: of the pairs; the first and last of each row are printed beside it.
        value_range: see `plots.grid`.

    Raises:
        ValueError: if the numbers of samples and distances differ; for samples that cannot be drawn.
    """
    if not len(condensed) == len(real) == len(distances):
        raise ValueError(
            f"{len(condensed)} condensed samples, {len(real)} real ones and {len(distances)} distances are not pairs. "
            "Give the same number of each."
        )
    rows: list[Tensor] = []
    names: list[str] = []
    row_of: list[int] = []
    for start in range(0, len(condensed), PAIRS_PER_ROW):
        some = slice(start, start + PAIRS_PER_ROW)
        first, last = distances[some][0], distances[some][-1]
        for side, name in ((condensed, "condensed"), (real, f"real, {first:.2f} to {last:.2f}")):
            row_of += [len(names)] * len(side[some])
            names.append(name)
            rows.append(side[some])
    title = f"{len(condensed)} closest pairs: condensed samples above real ones, with distances"
    return plots.grid(
        torch.cat(rows),
        row_of,
        names,
        per_class=None,
        max_classes=len(names),
        title=title,
        value_range=value_range,
    )
