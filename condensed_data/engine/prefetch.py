"""Fetching the real samples of the next step while this one computes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from torch import Tensor

from condensed_data.methods.base import PairIndices, Sampler

if TYPE_CHECKING:
    from condensed_data.engine.run import CondensationRun


class Prefetcher:
    """Where real samples come from a file or another memory."""

    def __init__(self, run: CondensationRun) -> None:
        self.run = run
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="condensed-data-ahead")
        self.coming: dict[tuple[Sampler, int, tuple[int, ...]], Future[tuple[PairIndices, Tensor]]] = {}

    def take(self, sampler: Sampler, groups: Sequence[int]) -> tuple[PairIndices, Tensor]:
        """The draw of the current iteration over these groups, and its samples."""
        run, key = self.run, (sampler, self.run.iteration, tuple(groups))
        found = self.coming.pop(key, None)
        now = self._fetch(*key) if found is None else found.result()
        if run.sampler_states[sampler].ahead:
            steps = run.work_plan.forwards()
            place = steps.index(tuple(groups)) + 1
            later = (run.iteration, steps[place]) if place < len(steps) else (run.iteration + 1, steps[0])
            self.coming = {
                (sampler, later[0], tuple(later[1])): self.thread.submit(
                    self._fetch, sampler, later[0], later[1]
                )
            }
        return now

    def _fetch(self, sampler: Sampler, iteration: int, groups: Sequence[int]) -> tuple[PairIndices, Tensor]:
        draw = self.run.sampler_states[sampler].draw(iteration, groups)
        return draw, self.run.context.real[draw.real]
