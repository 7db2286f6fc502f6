"""The processes of one build, and how they communicate.

`torchrun --nproc-per-node N -m condensed_data build ...`, or any program that has initialized a process group of
torch.distributed, runs one build on several processes. All of them hold the real samples, the learned tensors and the
networks; each computes its work units of every step (`condensed_data.engine.distributed`). Rank 0 alone reads and
writes the cache.

Tensors are exchanged by adding whole numbers to zeros, so that every bit arrives as it was sent, in whatever order the
processes add.
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
TIMEOUT = timedelta(days=7)  # reading a large source, or training networks on it, takes one rank hours
START_TIMEOUT = timedelta(seconds=600)  # within which all ranks must begin the same build


class LostRankError(ConnectionError):
    """Another process of the build exited, or did not join in time."""


@dataclass(eq=False)
class ProcessGroup:
    """The processes of one build.

    Attributes:
        rank: of this process, from 0.
        count: number of processes.
        released: whether rank 0 has sent the others the message that they wait for, see `main_first`.
        isolated: True for the shards of a job array, which never communicate; their results are merged afterwards.
    """

    rank: int = 0
    count: int = 1
    released: bool = False
    isolated: bool = False

    @staticmethod
    def here() -> ProcessGroup:
        """The processes of torch's default process group, all of which call this; one process without a group.

        Raises:
            LostRankError: if some do not join within ten minutes.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return ProcessGroup()
        _control_group()
        return ProcessGroup(dist.get_rank(), dist.get_world_size())

    @property
    def control(self) -> Any:
        """The torch group for messages and for tensors on the CPU."""
        return _control_group()

    @property
    def is_partitioned(self) -> bool:
        """Whether this process computes only a part of the result."""
        return self.count > 1

    @property
    def is_distributed(self) -> bool:
        """Whether there are other processes to communicate with."""
        return self.count > 1 and not self.isolated

    @property
    def is_main(self) -> bool:
        """Whether this process reads and writes the cache, and prints."""
        return self.rank == 0 or self.isolated

    def all_reduce_disjoint(self, tensor: Tensor) -> Tensor:
        """Add tensors over ranks, bit for bit; every value must be nonzero on at most one rank.

        Args:
            tensor: contiguous, of floating point numbers of 4 or 8 bytes, of one shape on all ranks; changed in place.
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
        """The message of rank 0, any picklable value, on every rank."""
        if not self.is_distributed:
            return message
        messages = [message if self.is_main else None]
        with translate_dist_errors():
            dist.broadcast_object_list(messages, src=0, group=self.control)
        return messages[0]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self.is_distributed:
            with translate_dist_errors():
                dist.barrier(group=self.control)

    def check_consistent(self, build: str) -> None:
        """Check that all ranks build the same.

        Args:
            build: what this rank builds, in words.

        Raises:
            LostRankError: if some do not join within ten minutes.
            ValueError: if their builds differ.
        """
        if not self.is_distributed:
            return
        _wait_for_all(self.control)
        builds: list[Any] = [None] * self.count
        with translate_dist_errors():
            dist.all_gather_object(builds, build, group=self.control)
        different = [rank for rank, other in enumerate(builds) if other != builds[0]]
        if different:
            raise ValueError(
                f"Rank {different[0]} was started with different arguments than rank 0 ({builds[different[0]]} vs. "
                f"{builds[0]}). All ranks need the same source, recipe, seed, device and precision."
            )

    def release_waiting(self, message: Any) -> None:
        """On rank 0: send the others the message that they wait for in `main_first`; only the first call counts."""
        if self.is_distributed and self.is_main and not self.released:
            self.released = True
            self.broadcast(message)

    def main_first(self, first: Callable[[], Found], others: Callable[[Any], Found]) -> Found:
        """Rank 0 runs `first`; the others wait for its message and run `others` with it.

        `first` sends the message by `release_waiting`; if it sends none, its return value is the message.

        Raises:
            LostRankError: on the others, if rank 0 failed before it sent anything.
        """
        if not self.is_main:
            message = self.broadcast()
            if isinstance(message, _Failure):
                raise LostRankError(f"Rank 0 stopped: {message.reason}")
            return others(message)
        try:
            found = first()
        except BaseException as error:
            if not isinstance(error, LostRankError):
                self.release_waiting(_Failure(_short(error) or type(error).__name__))
            raise
        self.release_waiting(found)
        return found


@dataclass(frozen=True)
class _Failure:
    """Message of a rank 0 that failed."""

    reason: str


ALONE = ProcessGroup()


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def translate_dist_errors() -> Iterator[None]:
    """Turn the errors of torch.distributed about a lost rank into a `LostRankError` with a remedy."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostRankError(
            "Another process of this build exited, so this one stops too. Start the same command again, with any "
            f"number of processes, to continue from the last checkpoint. ({_short(error)})"
        ) from error


# Weak: a group that outlives destroy_process_group ends with the interpreter, which aborts on gloo's threads.
_CONTROL: weakref.WeakKeyDictionary[Any, Callable[[], Any]] = weakref.WeakKeyDictionary()


def _control_group() -> Any:
    """The gloo group of all ranks with a long timeout; made once for the default process group, by all ranks."""
    world = dist.group.WORLD
    if world not in _CONTROL:
        if dist.get_backend() == "gloo":
            _wait_for_all(None)
        _CONTROL[world] = weakref.ref(dist.new_group(backend="gloo", timeout=TIMEOUT))
    return _CONTROL[world]()


def _wait_for_all(group: Any) -> None:
    try:
        dist.monitored_barrier(group, timeout=START_TIMEOUT, wait_all_ranks=True)
    except RuntimeError as error:
        raise LostRankError(
            f"Only some of the {dist.get_world_size()} processes of the process group joined this build within "
            f"{START_TIMEOUT.seconds} s. Condense on every rank, or before init_process_group. ({_short(error)})"
        ) from error


def is_torchrun() -> bool:
    """Whether torchrun, or what sets the same variables, started this process as one of several."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return all(name in os.environ for name in names) and int(os.environ["WORLD_SIZE"]) > 1


@contextmanager
def init_from_env() -> Iterator[ProcessGroup]:
    """Initialize torch's process group from torchrun's variables, if it started this process."""
    if not is_torchrun() or dist.is_initialized():
        yield ProcessGroup.here()
        return
    cards, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if cards:
        torch.cuda.set_device(local_rank() % cards)
    # nccl does not serve several ranks on one card
    dist.init_process_group("cpu:gloo,cuda:nccl" if cards >= local else "gloo", timeout=TIMEOUT)
    try:
        yield ProcessGroup.here()
    finally:
        dist.destroy_process_group()


def local_rank() -> int:
    """Number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_count() -> int:
    """Processes of the build on this machine; all of them if LOCAL_WORLD_SIZE is not set."""
    if not ProcessGroup.here().is_distributed:
        return 1
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(dist.get_world_size())))
