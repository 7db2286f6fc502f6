"""Calls a function for every sample of a source where a `DataLoader` would read it, and notices hidden randomness.

With workers, nothing of the dataset runs in this process: a file that it opens on first use is opened once in every
worker. Without workers, it is opened here.

A part of the samples is read a second time, after the rest of their batch and in the same process: `second_reads` says
which. Randomness that makes two reads of a sample differ with probability q stays unnoticed with probability
(1 - q) ** r if r different samples are read again. For a flip with probability p, q = 2p(1 - p): with r = 512, a flip
of p = 0.02 stays unnoticed in less than one of 10**8 sources, one of p = 0.005 in 0.6 % of them. (Of n < 512 samples
each is read again up to four times: for n = 100, 4 * 10**-5 and 8 %.) A dataset that keeps its first draws and repeats
them cannot be distinguished from a fixed one.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from condensed_data.core.rng import RandomStreams
from condensed_data.core.text import visible_name
from condensed_data.core.torch_settings import enter_for_good
from condensed_data.data.sample import SourceError

BATCH = 256
BATCH_BYTES = 64 << 20  # a batch of large samples is smaller; every worker prepares a few
SECOND_READS = 512


def read_batches(
    function: Callable[[int], Any],
    indices: Sequence[int],
    collate: Callable[[list[Any]], Any],
    use: Callable[[Any], object],
    *,
    changed: str,
    title: str,
    num_workers: int,
    progress: bool,
    size: int = BATCH,
) -> None:
    """Call a function for some indices of a source, in order, and for a part of them a second time.

    Args:
        function: called with an index in `num_workers` processes, or in this one if that is 0. Its results must not
            share memory with each other.
        indices: all, for example `range(len(source))`.
        collate: makes one batch of up to `size` results, in the process that called the function.
        use: called with every batch, in order, in this process.
        changed: the error for a second result that differs from the first; "{index}" stands for the index.
        title: of the progress bar.
        num_workers, progress: see `function`; whether to show a progress bar.
        size: most results in a batch.

    Raises:
        SourceError: the first one that the function raises; if a result changes; or if the workers cannot start or end.
    """
    batches = _Batches(function, indices, collate, changed, size)
    with tqdm(total=len(indices), desc=visible_name(title), unit=" samples", disable=not progress) as bar:

        def add(batch: Any) -> None:
            use(batch)
            bar.update(min(size, len(indices) - bar.n))

        _for_each(batches, add, num_workers)


def call_in_worker(function: Callable[[], Any], num_workers: int) -> Any:
    """The result of a function that runs in a worker process, or in this process if `num_workers` is 0."""
    results: list[Any] = []
    _for_each(_One(function), results.append, min(num_workers, 1))
    return results[0]


def batch_size(sample_bytes: int) -> int:
    """Samples of one batch: at most `BATCH`, and a multiple of 16, because statistics are summed by 16 samples."""
    return min(BATCH, max(16, BATCH_BYTES // sample_bytes // 16 * 16))


def second_reads(count: int) -> Tensor:
    """Indices, in increasing order, of the samples out of `count` that are read a second time.

    These are `SECOND_READS` and 1 % of the samples, spread evenly; of a small source, each sample up to four times.
    """
    number = min(4 * count, SECOND_READS + count // 100)
    inside = torch.rand(number, dtype=torch.float64, generator=RandomStreams(0).torch("second reads"))
    # one index in each of so many equal parts: no step that the dataset could share
    return ((torch.arange(number) + inside) * count / number).long().clamp_max(count - 1)


def check_second_read(function: Callable[[int], Any], index: int, first: Any, changed: str) -> None:
    """Raise SourceError(changed) if the function does not return `first` again for `index`."""
    try:
        same = _equal(first, function(index))
    except SourceError:
        same = False
    if not same:
        raise SourceError(changed.format(index=index))


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    if isinstance(first, Tensor):
        same = first.shape == second.shape and first.dtype == second.dtype
        return same and torch.equal(first.nan_to_num(), second.nan_to_num())
    return bool(first == second)


class _Batches(Dataset[Any]):
    """One item per batch of results, or the SourceError that was raised for one of them."""

    def __init__(
        self,
        function: Callable[[int], Any],
        indices: Sequence[int],
        collate: Callable[[list[Any]], Any],
        changed: str,
        size: int,
    ) -> None:
        self.function, self.indices, self.collate, self.changed, self.size = function, indices, collate, changed, size
        self.again = second_reads(len(indices))

    def __len__(self) -> int:
        return -(-len(self.indices) // self.size)

    def __getitem__(self, number: int) -> Any:
        return _result_or_error(lambda: self._batch(number * self.size))

    def _batch(self, start: int) -> Any:
        end = start + self.size
        results = [self.function(index) for index in self.indices[start:end]]
        for position in self.again[(self.again >= start) & (self.again < end)].tolist():
            check_second_read(self.function, self.indices[position], results[position - start], self.changed)
        return self.collate(results)


class _One(Dataset[Any]):
    """The result of a function as the only item, or the SourceError that it raised."""

    indices, size = (0,), 1

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return _result_or_error(self.function)


def _result_or_error(function: Callable[[], Any]) -> Any:
    """Errors are returned, because a loader wraps what a worker raises in its traceback."""
    try:
        return function()
    except SourceError as error:
        return SourceError(*error.args)  # without its cause, which may not be picklable


def _for_each(items: _Batches | _One, use: Callable[[Any], None], num_workers: int) -> None:
    """Use all items in order; they are computed in `num_workers` processes, or in this one if that is 0."""
    loader: DataLoader[Any] = DataLoader(
        items,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_unchanged,
        worker_init_fn=enter_for_good,
        generator=torch.Generator(),  # without one, a loader draws from the global generator
    )
    number = 0
    try:
        for item in _start(loader):
            if isinstance(item, SourceError):
                raise item
            use(item)
            number += 1
        return
    except RuntimeError as error:  # may be raised anywhere here, by the signal of a worker's end
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        ended = str(error).strip(". ")
    remedy = (
        "It may have run out of memory, or the dataset ended it. Start fewer workers; with num_workers=0 the program "
        "shows where it happens."
    )
    if number == 0 and multiprocessing.get_start_method() != "fork":
        remedy = (
            "A worker that is not forked imports the program again: put what the program does under "
            "`if __name__ == '__main__':`, or pass num_workers=0."
        )
    first = items.indices[number * items.size]
    # raised here, so that nothing refers to the other workers any more and they end
    raise SourceError(f"A worker process ended while the samples from source[{first}] on were read: {ended}. {remedy}")


def _start(loader: DataLoader[Any]) -> Iterator[Any]:
    try:
        return iter(loader)
    except Exception as error:
        raise SourceError(
            f"The worker processes cannot start: {type(error).__name__}: {error}. Pass num_workers=0; or, if "
            "something cannot be pickled, define the dataset's classes and functions in a module and open its files on "
            "first use."
        ) from error


def _unchanged(item: Any) -> Any:
    return item
