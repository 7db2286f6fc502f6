"""Steps recorded on an accelerator once and replayed, so that the host need not launch their kernels one by one.

Whether a step can be recorded follows from its parts (`Run.recordable`): each sweep it must do the same with tensors
at the same addresses. What differs is what the host draws, and that is declared (`Meeting.sends`): it is copied to
where the recorded step reads it. Everything else that the host sends must be the same every time; it is kept on the
device.

A step runs as it is written when it is first met. The second time it is recorded, replayed, and compared with the step
as it is written; a device that cannot record it, or that gives something else, is told in a warning, and the run goes
on without. Only CUDA records; what a recording may do is tested on a simulated device.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from condensed_data import device as devices

MOST = 64  # recorded steps of a run; others are launched as they are written
TOLERANCE = 1e-2  # kernels may add up in another order; another sample or network is far off
Results = tuple[Tensor, ...]


class Graph(Protocol):
    """What records and replays on one kind of device."""

    def record(self, function: Callable[[], Results]) -> Results:
        """Run `function` without computing, and keep what it asked of the device; where its results will be."""

    def replay(self) -> None:
        """Compute all that again, on what then lies at the same addresses."""


class CudaGraph:
    """A captured CUDA graph; those of a run share their working memory, as no two run at the same time."""

    def __init__(self, device: torch.device, pool: Any) -> None:
        self.device, self.pool, self.graph = device, pool, torch.cuda.CUDAGraph()

    def record(self, function: Callable[[], Results]) -> Results:
        # "thread_local": a thread that writes a checkpoint meanwhile does not spoil it
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(self.graph, pool=self.pool, capture_error_mode="thread_local"),
        ):
            return function()

    def replay(self) -> None:
        self.graph.replay()


def _of_cuda(device: torch.device) -> Callable[[], Graph]:
    pool = torch.cuda.graph_pool_handle()
    return lambda: CudaGraph(device, pool)


# what makes the graphs of a run, by the type of its device
GRAPHS: dict[str, Callable[[torch.device], Callable[[], Graph]]] = {"cuda": _of_cuda}


class NotSteadyError(RuntimeError):
    """A step sends something to the device that it did not declare and that changes from sweep to sweep."""


class Tape:
    """What one step gets from the host.

    Args:
        device: where it runs.
        declared: tensors of the host that differ from sweep to sweep.
    """

    def __init__(self, device: torch.device, declared: Sequence[Tensor]) -> None:
        self.device = device
        self.slots = [torch.empty(tensor.shape, dtype=tensor.dtype, device=device) for tensor in declared]
        self.constants: list[tuple[Tensor, Tensor]] = []
        self.places: dict[int, Tensor] = {}
        self.position: int | None = None

    def fill(self, declared: Sequence[Tensor]) -> None:
        """Copy what this sweep declares to where the step reads it."""
        for slot, tensor in zip(self.slots, declared, strict=True):
            slot.copy_(tensor, non_blocking=devices.in_turn(self.device))

    @contextmanager
    def playing(self, declared: Sequence[Tensor], known: bool) -> Iterator[None]:
        """Inside, what is sent comes from here.

        Args:
            declared: of this sweep, already filled in.
            known: whether the rest was sent before; else it is kept now.
        """
        self.places = {id(tensor): slot for tensor, slot in zip(declared, self.slots, strict=True)}
        self.position = 0 if known else None
        with devices.sending(self._sent):
            yield

    def _sent(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        if id(tensor) in self.places:
            return self.places[id(tensor)].to(dtype)
        if self.position is None:
            there = tensor.to(self.device, dtype, non_blocking=devices.in_turn(self.device))
            self.constants.append((tensor.clone(), there))
            return there
        # what the first sweep sent and kept is not sent again
        for place, (here, there) in enumerate(self.constants[self.position :], self.position):
            if here.dtype == tensor.dtype and there.dtype == dtype and torch.equal(here, tensor):
                self.position = place + 1
                return there
        raise NotSteadyError(f"a tensor of shape {tuple(tensor.shape)} that it sends is not always the same")


class _Step:
    """One step: as it is written, then recorded, then replayed."""

    def __init__(self, graph: Graph, device: torch.device, declared: Sequence[Tensor]) -> None:
        self.graph, self.tape = graph, Tape(device, declared)
        self.met = False
        self.results: Results | None = None

    def __call__(self, declared: Sequence[Tensor], function: Callable[[], Results]) -> Results:
        self.tape.fill(declared)
        if self.results is None:
            written = self._written(declared, function)
            if not self.met:
                self.met = True
                return written
            with self.tape.playing(declared, known=True):
                results = self.graph.record(function)
            self.graph.replay()
            if not all(map(_near, results, written)):
                raise NotSteadyError("replaying it does not give what it gives as it is written")
            self.results = results
        else:
            self.graph.replay()
        return self.results

    def _written(self, declared: Sequence[Tensor], function: Callable[[], Results]) -> Results:
        with self.tape.playing(declared, known=self.met):
            return function()


class Captures:
    """The recorded steps of a run.

    Args:
        device: of the run.
        possible: finds out whether its steps do the same each sweep; it is asked where a device can record.
    """

    def __init__(self, device: torch.device, possible: Callable[[], bool]) -> None:
        self.device = device
        makes = GRAPHS.get(device.type)
        self.new = makes(device) if makes and possible() else None
        self.steps: dict[Hashable, _Step] = {}

    def __call__(self, key: Hashable, declared: Sequence[Tensor], function: Callable[[], Results]) -> Results:
        """What `function` gives, recorded where that can be.

        Args:
            key: what the step looks at, apart from the shapes of `declared`.
            declared: all that the host sends and that differs from sweep to sweep.
            function: the step; its results are valid until the next call with the same key.
        """
        if self.new is None:
            return function()
        whole = key, tuple((tensor.shape, tensor.dtype) for tensor in declared)
        if whole not in self.steps:
            if len(self.steps) >= MOST:
                return function()
            self.steps[whole] = _Step(self.new(), self.device, declared)
        try:
            return self.steps[whole](declared, function)
        except torch.OutOfMemoryError:
            self.forget()
            raise
        except RuntimeError as error:
            self.new = None
            self.forget()
            warnings.warn(
                f"This run goes on without recorded steps, slower and with the same results: {error}. Please report "
                "the recipe and the device.",
                stacklevel=2,
            )
            return function()

    def forget(self) -> None:
        """Give back the memory of all of them."""
        self.steps.clear()


def _near(one: Tensor, other: Tensor) -> bool:
    """Whether they differ by rounding only."""
    size = float(other.norm())
    return not math.isfinite(size) or float((one - other).norm()) <= TOLERANCE * size
