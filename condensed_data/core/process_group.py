"""The processes of one build: who they are, and how they agree.

`torchrun --nproc-per-node N -m condensed_data build ...`, or any program that initialized a process group of
torch.distributed, runs one build on several processes. All of them hold the real samples, the learned tensors and the
networks; each computes its shares of every step (`shares.py`). Rank 0
alone reads and writes the cache.

What tensors pass is added as whole numbers to zeros, so that every bit arrives as it was sent, whoever adds first.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Found = TypeVar("Found")
LONG = timedelta(days=7)  # reading a large source, or training networks on it, takes one rank hours
MEETING = timedelta(seconds=600)  # in which all ranks come to the same build


class LostRankError(ConnectionError):
    """Another process of the build ended, or never came."""


@dataclass(eq=False)
class ProcessGroup:
    """The processes of one build.

    Attributes:
        rank: of this process, from 0.
        count: of all.
        told: whether rank 0 said what it found, see `together`.
        apart: whether they never speak: the shards of a job array, whose results are merged in the end.
    """

    rank: int = 0
    count: int = 1
    told: bool = False
    isolated: bool = False

    @staticmethod
    def here() -> ProcessGroup:
        """Those of the process group that this process belongs to, all of which call this; one without a group.

        Raises:
            LostRankError: where some do not come within ten minutes.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return ProcessGroup()
        _control()
        return ProcessGroup(dist.get_rank(), dist.get_world_size())

    @property
    def control(self) -> Any:
        """The group that passes messages and tensors of the CPU."""
        return _control()

    @property
    def is_partitioned(self) -> bool:
        """Whether this process computes a part of the whole."""
        return self.count > 1

    @property
    def is_distributed(self) -> bool:
        """Whether there is anybody else to speak to."""
        return self.count > 1 and not self.isolated

    @property
    def is_main(self) -> bool:
        """Whether this one looks things up, keeps them and talks."""
        return self.rank == 0 or self.isolated

    def all_reduce_disjoint(self, tensor: Tensor) -> Tensor:
        """Fill in what others hold: for every value at most one rank holds bits that are not zero.

        Args:
            tensor: contiguous, of floating point numbers of 4 or 8 bytes, of one shape on all ranks; it is changed.
        """
        if self.is_distributed:
            with translate_dist_errors():
                self._add(tensor.view(torch.int64 if tensor.element_size() == 8 else torch.int32))
        return tensor

    def _add(self, bits: Tensor) -> None:
        if bits.device.type == "cpu":
            dist.all_reduce(bits, group=self.control)
        elif "nccl" in str(dist.get_backend_config()):
            dist.all_reduce(bits)
        else:
            moved = bits.cpu()
            dist.all_reduce(moved, group=self.control)
            bits.copy_(moved)

    def broadcast(self, message: Any = None) -> Any:
        """What rank 0 gave, on every rank: any picklable value."""
        if not self.is_distributed:
            return message
        held = [message if self.is_main else None]
        with translate_dist_errors():
            dist.broadcast_object_list(held, src=0, group=self.control)
        return held[0]

    def barrier(self) -> None:
        """Until all ranks are here."""
        if self.is_distributed:
            with translate_dist_errors():
                dist.barrier(group=self.control)

    def check_consistent(self, what: str) -> None:
        """Find out at the beginning whether all ranks want the same.

        Raises:
            LostRankError: where some do not come within ten minutes.
            ValueError: where they want different things.
        """
        if not self.is_distributed:
            return
        _meet(self.control)
        wants: list[Any] = [None] * self.count
        with translate_dist_errors():
            dist.all_gather_object(wants, what, group=self.control)
        different = [rank for rank, want in enumerate(wants) if want != wants[0]]
        if different:
            raise ValueError(
                f"Ranks 0 and {different[0]} want to build different sets: {wants[0]}, and {wants[different[0]]}. Give "
                "every rank the same source, recipe, seed, device and precision."
            )

    def release_waiting(self, message: Any) -> None:
        """Rank 0: end the waiting of the others, once; see `together`."""
        if self.is_distributed and self.is_main and not self.told:
            self.told = True
            self.broadcast(message)

    def main_first(self, first: Callable[[], Found], others: Callable[[Any], Found]) -> Found:
        """Rank 0 does `first`, while the others wait for what it tells them in there, and do `others` with it.

        What it returns is told where nothing was told before.

        Raises:
            LostRankError: on the others, where rank 0 failed before it told anything.
        """
        if not self.is_main:
            message = self.broadcast()
            if isinstance(message, _Failed):
                raise LostRankError(f"Rank 0 stopped: {message.reason}")
            return others(message)
        try:
            found = first()
        except BaseException as error:
            if not isinstance(error, LostRankError):
                self.release_waiting(_Failed(_short(error) or type(error).__name__))
            raise
        self.release_waiting(found)
        return found


@dataclass(frozen=True)
class _Failed:
    """Why rank 0 told nothing else."""

    reason: str


ALONE = ProcessGroup()


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def translate_dist_errors() -> Iterator[None]:
    """What the process group says when a rank is gone, in words that help."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostRankError(
            "Another process of this build ended, so this one ends too. Start the same command again, on any number of "
            f"processes: it goes on from the last checkpoint. ({_short(error)})"
        ) from error


def group(members: tuple[int, ...] | None = None, backend: str = "gloo") -> Any:
    """A process group of these ranks, or of all, whose patience is long; None for who is not of them.

    It is made once for the default process group, by all ranks of that together, members or not.
    """
    known = _GROUPS.setdefault(dist.group.WORLD, {})
    if (members, backend) not in known:
        made = dist.new_group(None if members is None else list(members), backend=backend, timeout=LONG)
        known[members, backend] = weakref.ref(made) if isinstance(made, dist.ProcessGroup) else _nobody
    return known[members, backend]()


def _nobody() -> None:
    return None


def _control() -> Any:
    """The group of all ranks that passes messages and tensors of the CPU."""
    if (None, "gloo") not in _GROUPS.get(dist.group.WORLD, {}) and dist.get_backend() == "gloo":
        _meet(None)
    return group()


def _meet(group: Any) -> None:
    try:
        dist.monitored_barrier(group, timeout=MEETING, wait_all_ranks=True)
    except RuntimeError as error:
        raise LostRankError(
            f"Not all {dist.get_world_size()} processes of the process group came to this build within "
            f"{MEETING.seconds} s. Build on every rank, or before init_process_group. ({_short(error)})"
        ) from error


# Weak: a group that outlives destroy_process_group ends with the interpreter, which aborts on gloo's threads.
_GROUPS: weakref.WeakKeyDictionary[Any, dict[Any, Callable[[], Any]]] = weakref.WeakKeyDictionary()


def is_torchrun() -> bool:
    """Whether torchrun, or what sets the same variables, started this process as one of several."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return all(name in os.environ for name in names) and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def init_from_env() -> Iterator[ProcessGroup]:
    """The process group that torchrun prepared, where it started this process; gives this process's ranks."""
    if not is_torchrun() or dist.is_initialized():
        yield ProcessGroup.here()
        return
    cards, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if cards:
        torch.cuda.set_device(local_rank() % cards)
    # Several ranks on one card cannot speak over nccl.
    dist.init_process_group("cpu:gloo,cuda:nccl" if cards >= local else "gloo", timeout=LONG)
    try:
        yield ProcessGroup.here()
    finally:
        dist.destroy_process_group()


def local_rank() -> int:
    """Number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_count() -> int:
    """Processes of the build on this machine; all of them where nobody says."""
    if not ProcessGroup.here().is_distributed:
        return 1
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(dist.get_world_size())))
