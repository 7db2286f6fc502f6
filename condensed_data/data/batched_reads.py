"""Call a function for every sample of a source, in worker processes and with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from condensed_data.core.torch_settings import enter_for_good
from condensed_data.data.sample import SourceError

BATCH = 256


def read_batches(
    function: Callable[[int], Any],
    count: int,
    collate: Callable[[list[Any]], Any],
    *,
    title: str,
    num_workers: int,
    progress: bool,
) -> Iterator[Any]:
    """Call a function for the indices below `count`, in order.

    Args:
        function: called with an index in `num_workers` processes, or in this one if that is 0; the first SourceError
            that it raises for a sample is raised here.
        count: number of indices.
        collate: makes one result of up to `BATCH` results, in the process that called the function; these are yielded.
        title: of the progress bar.
        num_workers, progress: see `function`; whether to show a progress bar.
    """
    loader: DataLoader[Any] = DataLoader(
        _Results(function, count),
        batch_size=BATCH,
        num_workers=num_workers,
        collate_fn=partial(_collate, collate),
        worker_init_fn=enter_for_good,
        generator=torch.Generator(),  # without one, a loader draws from the global generator
    )
    with tqdm(total=count, desc=title, unit=" samples", disable=not progress) as bar:
        for batch in loader:
            if isinstance(batch, SourceError):
                raise batch
            yield batch
            bar.update(min(BATCH, count - bar.n))


class _Results(Dataset[Any]):
    """Results of a function; errors are returned, because a loader wraps what a worker raises in its traceback."""

    def __init__(self, function: Callable[[int], Any], count: int) -> None:
        self.function, self.count = function, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        try:
            return self.function(index)
        except SourceError as error:
            return SourceError(*error.args)  # without its cause, which may not be picklable


def _collate(collate: Callable[[list[Any]], Any], results: list[Any]) -> Any:
    """Collate a batch, or return its first error."""
    error = next((result for result in results if isinstance(result, SourceError)), None)
    return collate(results) if error is None else error
