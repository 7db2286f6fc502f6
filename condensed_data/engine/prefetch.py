"""Reads the real samples of the next step in a thread while the current step computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from condensed_data.data.real import RealData
from condensed_data.methods.base import PairIndices, Sampler, SamplerState

Fetched = tuple[PairIndices, Tensor]
Key = tuple[Sampler, int, tuple[int, ...]]


class Prefetcher:
    """Fetches the real samples that samplers draw, if these lie in a file or in the memory of another device."""

    def __init__(self, sampler_states: Mapping[Sampler, SamplerState], real: RealData) -> None:
        self.sampler_states, self.real = sampler_states, real
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="condensed-data-prefetch")
        self.pending: dict[Key, Future[Fetched]] = {}

    def get(self, sampler: Sampler, iteration: int, groups: Sequence[int], order: Sequence[tuple[int, ...]]) -> Fetched:
        """This draw and its samples; the next one starts in the background if this step does not change it.

        Args:
            sampler, iteration, groups: name the draw.
            order: the groups of every forward pass of an iteration, in order.
        """
        key = (sampler, iteration, tuple(groups))
        future = self.pending.pop(key, None)
        found = self._fetch(*key) if future is None else future.result()
        if self.sampler_states[sampler].can_prefetch:
            place = order.index(tuple(groups)) + 1
            upcoming = (iteration, order[place]) if place < len(order) else (iteration + 1, order[0])
            self.pending = {(sampler, *upcoming): self.thread.submit(self._fetch, sampler, *upcoming)}
        return found

    def _fetch(self, sampler: Sampler, iteration: int, groups: Sequence[int]) -> Fetched:
        indices = self.sampler_states[sampler].draw(iteration, groups)
        return indices, self.real[indices.real]
