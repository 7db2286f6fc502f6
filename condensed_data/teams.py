"""Processes that compute one share of a step together, where there are fewer shares than processes.

The owner of a share takes its gradient. The others of its team, its helpers, follow the owner's forward, so that all
look at its real samples together: these are cut into pieces, member i of T takes pieces i, i + T, ..., and everybody
gets what each piece gave, bit by bit and in order. The pieces follow from the recipe, the source and the kind of
device, never from the number of processes, so that one process that computes in blocks gets the same bits.

What is not looked at so stays with the owner: the synthetic samples, the maps that CAFE and IID compare, the unrolled
training of DD and MTT, and networks with batch normalisation, whose rows depend on each other.

Letters: B rows of a batch, T members of a team.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from condensed_data.ranks import Ranks, group, telling

PIECES = 8  # of the real samples of a step, as many as a machine usually has accelerators
LEAST_ROWS = 64  # of a piece: fewer are hardly faster

_CPU = torch.device("cpu")
Found = TypeVar("Found")
Results = tuple[Tensor, ...]
_Facts = Sequence[tuple[torch.Size, torch.dtype]]


class _Told(torch.OutOfMemoryError):
    """Memory ended on a member, and all of them know."""


@dataclass(frozen=True)
class Team:
    """The processes that compute a share together.

    Attributes:
        members: their ranks, ascending.
        place: of this process among them.
        helps: whether another one owns the share.
        pieces: in how many the real samples of the share are looked at, as far as each keeps `LEAST_ROWS`; more where
            memory or the cache of a processor asks for it.
        device: where they compute.
    """

    members: tuple[int, ...] = (0,)
    place: int = 0
    helps: bool = False
    pieces: int = 1
    device: torch.device = _CPU

    def meet(self, ranks: Ranks) -> None:
        """Make the team's process groups; all ranks of the build do this for every team, in one order."""
        ranks.wait()
        group(self.members)
        if self._direct:
            group(self.members, "nccl")

    def rows(self, count: int, most: int) -> int:
        """Of a piece of `count` real rows, where a network takes at most `most` at once."""
        return min(most, max(LEAST_ROWS, -(-count // self.pieces)))

    def each(
        self, function: Callable[..., Results], pieces: Sequence[tuple[Tensor, ...]]
    ) -> Iterator[Results]:
        """What `function` gives for every piece, in order, on all members; each computes its own pieces.

        Args:
            function: from the tensors of a piece to detached tensors of any shapes.
            pieces: the same on all members.

        Raises:
            LostRankError: where another member ended.
            torch.OutOfMemoryError: where memory ended on another member.
        """
        count = len(self.members)
        if count == 1 or len(pieces) == 1:  # of a single piece nobody could take a part
            yield from (function(*piece) for piece in pieces)
            return
        # In rounds, because results may be as large as all weights.
        for start in range(0, len(pieces), count):
            own = start + self.place
            results = function(*pieces[own]) if own < len(pieces) else ()
            yield from self._exchange(results)[: len(pieces) - start]

    def together(self, attempt: Callable[[], Found]) -> Found:
        """Do `attempt` on all members; where memory ends on one, it fails on all, so that all can try again alike.

        Raises:
            LostRankError: where another member ended.
            torch.OutOfMemoryError: where memory ended on any member.
        """
        try:
            found = attempt()
        except _Told:
            raise
        except torch.OutOfMemoryError:
            if len(self.members) > 1:
                self.say(None)
            raise
        self.say(True)
        return found

    def say(self, word: Any) -> list[Any]:
        """What every member says, in their order, any picklable values; None says that memory ended here.

        All members speak equally often, so that this word reaches the others wherever they are.
        """
        if len(self.members) == 1:
            return [word]
        words: list[Any] = [None] * len(self.members)
        with telling():
            dist.all_gather_object(words, word, group=group(self.members))
        if any(said is None for said in words):
            raise _Told("The memory of one of the processes that compute a step together does not hold it.")
        return words

    @property
    def _direct(self) -> bool:
        """Whether members pass tensors from accelerator to accelerator."""
        return self.device.type == "cuda" and "nccl" in str(dist.get_backend_config())

    def _exchange(self, results: Results) -> list[Results]:
        """The results of all members; none of one that has no piece left."""
        facts = self.say([(tensor.shape, tensor.dtype) for tensor in results])
        try:
            return self._passed(results, facts)
        except torch.OutOfMemoryError as error:  # the others wait, and cannot be told
            raise MemoryError(
                f"The memory of {self.device} does not hold what the processes that compute a step together pass. Use "
                "a smaller sampler.batch or network, or no more processes than classes."
            ) from error

    def _passed(self, results: Results, facts: Sequence[_Facts]) -> list[Results]:
        lengths = [sum(_lengths(some)) for some in facts]
        where = self.device if self._direct else _CPU
        own = torch.zeros(max(lengths), dtype=torch.uint8, device=where)
        if results:
            own[: lengths[self.place]] = torch.cat([_bytes(tensor) for tensor in results])
        everybody = [torch.empty_like(own) for _ in self.members]
        with telling():
            dist.all_gather(everybody, own, group=group(self.members, "nccl" if self._direct else "gloo"))
        return [_unpacked(raw.to(self.device), some) for raw, some in zip(everybody, facts, strict=True)]


ALONE = Team()
Teams = Mapping[int, Team]
ALL_ALONE: Teams = MappingProxyType({})


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def _lengths(facts: _Facts) -> list[int]:
    return [shape.numel() * dtype.itemsize for shape, dtype in facts]


def _unpacked(raw: Tensor, facts: _Facts) -> Results:
    parts = raw[: sum(_lengths(facts))].split(_lengths(facts))
    return tuple(_placed(part, dtype).view(shape) for part, (shape, dtype) in zip(parts, facts, strict=True))


def _placed(raw: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers in these bytes, which are moved only where numbers of this kind cannot begin."""
    return (raw if raw.storage_offset() % dtype.itemsize == 0 else raw.clone()).view(dtype)
