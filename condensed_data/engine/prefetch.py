"""Reads the real samples of the next step in a thread while the current step computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from condensed_data.methods.base import PairIndices, Sampler

Fetched = tuple[PairIndices, Tensor]
Key = tuple[Sampler, int, tuple[int, ...]]


class Prefetcher:
    """Fetches real samples that lie in a file or in the memory of another device.

    Args:
        fetch: (sampler, iteration, groups) -> the indices of that draw and its real samples.
    """

    def __init__(self, fetch: Callable[[Sampler, int, Sequence[int]], Fetched]) -> None:
        self.fetch = fetch
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="condensed-data-prefetch")
        self.pending: dict[Key, Future[Fetched]] = {}

    def get(self, sampler: Sampler, iteration: int, groups: Sequence[int], order: Sequence[tuple[int, ...]]) -> Fetched:
        """This draw and its samples; the next draw starts in the background.

        Args:
            sampler, iteration, groups: name the draw.
            order: the groups of every forward pass of an iteration, in order; empty where the next draw depends on
                what this step changes.
        """
        key = (sampler, iteration, tuple(groups))
        future = self.pending.pop(key, None)
        found = self.fetch(*key) if future is None else future.result()
        if order:
            place = order.index(tuple(groups)) + 1
            upcoming = (iteration, order[place]) if place < len(order) else (iteration + 1, order[0])
            self.pending = {(sampler, *upcoming): self.thread.submit(self.fetch, sampler, *upcoming)}
        return found
