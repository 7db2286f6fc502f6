"""Finds nearest samples on any device, block by block instead of with a matrix of all distances.

Letters: Q queries, n samples, D values of a sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from condensed_data.core.torch_settings import own_settings

ROWS = 4096  # of a block


@own_settings()
def nearest(queries: Tensor, samples: Tensor, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """The sample nearest to each query.

    Args:
        queries: (Q, *sample); samples: (n, *sample), n at least 1.
        device: where to compute; by default that of the queries.

    Returns:
        Root mean squared differences per value (Q,) float32 and indices into `samples` (Q,) int64, on the CPU.
        Equal samples have the distance 0: pairs are found by an expanded square, which rounds, and their distances
        are computed again from the differences.
    """
    where = queries.device if device is None else device
    found = [_nearest_index(rows.flatten(1).to(where).float(), samples) for rows in queries.split(ROWS)]
    index = torch.cat(found).cpu()
    gaps = [
        (rows.cpu().float() - samples[chosen].cpu().float()).flatten(1).square().mean(1).sqrt()
        for rows, chosen in zip(queries.split(ROWS), index.split(ROWS), strict=True)
    ]
    return torch.cat(gaps), index


def _nearest_index(queries: Tensor, samples: Tensor) -> Tensor:
    """Indices (Q,) of the nearest samples to queries (Q, D)."""
    best = queries.new_full((len(queries),), torch.inf)
    index = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    for start in range(0, len(samples), ROWS):
        rows = samples[start : start + ROWS].flatten(1).to(queries.device).float()
        # without the squared norm of the query, which does not change the order
        scores, at = (rows.square().sum(1) - 2 * (queries @ rows.T)).min(1)
        closer = scores < best
        best, index = torch.where(closer, scores, best), torch.where(closer, at + start, index)
    return index
