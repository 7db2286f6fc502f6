"""A step in shares: which process computes the loss of which terms over which groups, and how the gradients meet.

The division does not depend on the number of processes, so that neither do the bits:

* terms whose loss is a sum over groups are computed in fixed blocks of consecutive groups, a share each; its gradient
  lies in the rows of its groups, which are put together without adding anything;
* terms that look at all groups at once (CAFE's discrimination, a whole training run of DD or MTT) are a share each;
* the gradients of shares that meet in the same numbers (decoders, step sizes) are added in the order of the shares.

Where groups step one after another (IDC, IDM), those of one process do not look at those of another within an iteration, so
each process takes its own steps, and rows are put together after the iteration.

Letters: U shares, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from condensed_data.core.process_group import ProcessGroup
    from condensed_data.methods.base import SyntheticData

BLOCKS = 64  # of several processes, where the recipe names no number


@dataclass(frozen=True)
class WorkUnit:
    """What one process computes of a step.

    Attributes:
        groups: whose samples it looks at.
        terms: numbers of the recipe's terms.
        apart: whether its gradient lies in the rows of its groups (and in what all groups share).
    """

    groups: tuple[int, ...]
    terms: tuple[int, ...]
    apart: bool

    @property
    def cost(self) -> int:
        """Relative time that it takes."""
        return len(self.groups) * len(self.terms)


def partition(
    groups: Sequence[int], blocks: int, separate: Sequence[int], coupled: Sequence[int]
) -> list[WorkUnit]:
    """The shares of a step over `groups`: `separate` terms in blocks, each of the `coupled` ones whole."""
    shares = [WorkUnit(tuple(block), tuple(separate), True) for block in chunks(groups, blocks) if separate]
    return shares + [WorkUnit(tuple(groups), (term,), False) for term in coupled]


def chunks(groups: Sequence[int], count: int) -> list[Sequence[int]]:
    """`groups` in at most `count` parts of nearly equal length."""
    length = -(-len(groups) // count)
    return [groups[start : start + length] for start in range(0, len(groups), length)]


def assign_owners(shares: Sequence[WorkUnit], ranks: int, of_first: Sequence[int] = ()) -> list[int]:
    """The rank that computes each share: the costliest first, to whoever has least to do; ranks do not move bits.

    Args:
        of_first: numbers of terms that learn themselves, whose state is rank 0's.
    """
    loads, found = [0] * ranks, [0] * len(shares)
    order = sorted(
        range(len(shares)), key=lambda i: (not set(shares[i].terms) & set(of_first), -shares[i].cost, i)
    )
    for index in order:
        learning = set(shares[index].terms) & set(of_first)
        found[index] = 0 if learning else loads.index(min(loads))
        loads[found[index]] += shares[index].cost
    return found


def row_groups(synthetic_data: SyntheticData, name: str) -> Tensor | None:
    """The group of every row of a learned tensor; None where its numbers serve several groups."""
    if name in synthetic_data.shared_across_groups:
        return None
    rows = len(synthetic_data.learned[name])
    return synthetic_data.groups[:: len(synthetic_data.groups) // rows]


class GradientExchange:
    """Puts the gradients of the shares of a step together.

    Args:
        synthesis: what is learned.
        shares: of the step, on all ranks.
        ranks: who computes them.
    """

    def __init__(
        self, synthetic_data: SyntheticData, shares: Sequence[WorkUnit], ranks: ProcessGroup
    ) -> None:
        self.synthetic_data, self.shares, self.ranks = synthetic_data, shares, ranks
        self.device = next(iter(synthetic_data.learned.values())).device
        self.losses = torch.zeros(len(shares) + 1, device=self.device)
        self.parts: dict[int, dict[str, Tensor]] = {}

    def put(self, index: int, loss: Tensor, gradients: dict[str, Tensor]) -> None:
        """The loss and the gradients of share number `index`, which this process computed."""
        self.losses[index] = loss
        self.parts[index] = gradients

    def meet(self, asked_to_stop: bool) -> tuple[Tensor, bool]:
        """Leave the gradient of the step in the learned tensors of every process.

        Returns:
            The summed loss, and whether any process was asked to stop.
        """
        for name, tensor in self.synthetic_data.learned.items():
            tensor.grad = self._gradient(name, tensor)
        self.losses[-1] = float(asked_to_stop and self.ranks.is_main)
        total = torch.zeros((), device=self.device)
        *losses, stop = self.ranks.all_reduce_disjoint(self.losses)
        for loss in losses:
            total = total + loss
        return total, self.ranks.is_distributed and bool(stop)

    def _gradient(self, name: str, tensor: Tensor) -> Tensor:
        groups = row_groups(self.synthetic_data, name)
        apart = [] if groups is None else [i for i, share in enumerate(self.shares) if share.apart]
        whole = [i for i in range(len(self.shares)) if i not in set(apart)]
        parts = [self._rows(name, tensor, groups, apart)] if apart and groups is not None else []
        if not self.ranks.is_distributed:
            parts += [self.parts[index][name] for index in whole]
        elif whole:
            stacked = tensor.new_zeros(len(whole), *tensor.shape)
            for place, index in enumerate(whole):
                if index in self.parts:
                    stacked[place] = self.parts[index][name]
            parts += list(self.ranks.all_reduce_disjoint(stacked))
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total.contiguous()

    def _rows(self, name: str, tensor: Tensor, groups: Tensor, apart: Sequence[int]) -> Tensor:
        together = torch.zeros_like(tensor)
        for index in apart:
            if index in self.parts:
                rows = rows_of_groups(groups, self.shares[index].groups).to(tensor.device)
                together[rows] = self.parts[index][name][rows]
        return self.ranks.all_reduce_disjoint(together)


def rows_of_groups(groups: Tensor, chosen: Sequence[int]) -> Tensor:
    """Indices of the rows whose group is one of these."""
    return torch.isin(groups, torch.tensor(list(chosen))).nonzero()[:, 0]


def sync_rows(
    synthetic_data: SyntheticData, optimizer: torch.optim.Optimizer, owned: Sequence[int], ranks: ProcessGroup
) -> None:
    """After steps that every process took for its own groups: give all of them everybody's rows.

    Args:
        synthesis: nothing of it is shared by groups.
        optimizer: over its learned tensors; each number of its state belongs to one of theirs.
        owned: groups of this process.
    """
    for name, tensor in synthetic_data.learned.items():
        groups = row_groups(synthetic_data, name)
        assert groups is not None
        mine = rows_of_groups(groups, owned).to(tensor.device)
        states = [value for value in optimizer.state[tensor].values() if _like(value, tensor)]
        for values in (tensor.detach(), *states):
            own = torch.zeros_like(values)
            own[mine] = values[mine]
            values.copy_(ranks.all_reduce_disjoint(own))


def _like(value: object, tensor: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == tensor.shape
