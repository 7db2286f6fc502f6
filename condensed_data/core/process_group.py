"""The processes of one build, and how they communicate.

`torchrun --nproc-per-node N -m condensed_data build ...`, or any program that has initialized a process group of
torch.distributed, runs one build on several processes. All of them hold the real samples, the learned tensors and the
networks; each computes its work units of every step (`condensed_data.engine.distributed`). Rank 0 alone reads and
writes the cache. Everything else (evaluation, comparison, saving, publishing) runs in the process that asks for it and
never communicates.

Tensors are exchanged by adding whole numbers to zeros, so that every bit arrives as it was sent, in whatever order the
processes add.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from condensed_data.core.rendezvous import (
    START_TIMEOUT,
    TIMEOUT,
    LostRankError,
    control_group,
    failure_shared,
    reported_wait,
    short,
    translate_dist_errors,
)

Found = TypeVar("Found")
START_PATIENCE = 5.0  # seconds after which a waiting rank says so


@dataclass(eq=False)
class ProcessGroup:
    """The processes of one build.

    Attributes:
        rank: of this process, from 0.
        count: number of processes; 1 for a process that computes by itself, even if its rank is not 0.
        released: whether rank 0 has sent the others the message that they wait for, see `main_first`.
        isolated: True for the shards of a job array, which never communicate; their results are merged afterwards.
    """

    rank: int = 0
    count: int = 1
    released: bool = False
    isolated: bool = False

    @staticmethod
    def here(divided: bool = True) -> ProcessGroup:
        """The processes of torch's default process group; one process without a group.

        Args:
            divided: whether these processes divide the work, so that all of them must call this. Otherwise each
                computes by itself and waits for nobody; rank 0 alone prints and publishes.

        Raises:
            LostRankError: if some do not join within ten minutes.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return ProcessGroup()
        if not divided:
            return ProcessGroup(dist.get_rank())
        control_group()
        return ProcessGroup(dist.get_rank(), dist.get_world_size())

    @property
    def control(self) -> Any:
        """The torch group for messages and for tensors on the CPU."""
        return control_group()

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
        with reported_wait():
            dist.monitored_barrier(self.control, timeout=START_TIMEOUT, wait_all_ranks=True)
        self.check_equal(
            build,
            "was started with different arguments",
            "All ranks need the same source, recipe, seed, groups, device and precision, and the same use of a cache "
            "and an executor.",
        )

    def check_equal(self, text: str, difference: str, remedy: str) -> None:
        """Raise ValueError, with the name of the difference and the remedy, unless `text` is the same on all ranks."""
        if not self.is_distributed:
            return
        texts: list[Any] = [None] * self.count
        with translate_dist_errors():
            dist.all_gather_object(texts, text, group=self.control)
        for rank, other in enumerate(texts):
            if other != texts[0]:
                raise ValueError(f"Rank {rank} {difference} than rank 0 ({other} vs. {texts[0]}). {remedy}")

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
        if self.is_distributed and not self.is_main:
            message = self.broadcast()
            if isinstance(message, _Failure):
                raise LostRankError(f"Rank 0 stopped: {message.reason}")
            return others(message)
        try:
            found = first()
        except BaseException as error:
            if not isinstance(error, LostRankError):
                self.release_waiting(_Failure(short(error) or type(error).__name__))
            raise
        self.release_waiting(found)
        return found


@dataclass(frozen=True)
class _Failure:
    """Message of a rank 0 that failed."""

    reason: str


ALONE = ProcessGroup()


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
        with failure_shared():
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
