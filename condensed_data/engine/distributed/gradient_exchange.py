"""How the gradients of work units become the gradient of a step, on every process.

Gradients that lie in the rows of their groups are put together without adding anything. Gradients in numbers that all
groups share (decoders, step sizes) are added in the order of the units. So the result has the same bits on any number
of processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from condensed_data.core.process_group import ProcessGroup
from condensed_data.engine.distributed.work_plan import WorkUnit
from condensed_data.methods.base import SyntheticData


def row_groups(synthetic_data: SyntheticData, name: str) -> Tensor | None:
    """The group of every row of a learned tensor; None if groups share the tensor."""
    if name in synthetic_data.shared_across_groups:
        return None
    rows = len(synthetic_data.learned[name])
    return synthetic_data.groups[:: len(synthetic_data.groups) // rows]


def rows_of_groups(groups: Tensor, chosen: Sequence[int]) -> Tensor:
    """Indices of the rows whose group is in `chosen`."""
    return torch.isin(groups, torch.tensor(list(chosen))).nonzero()[:, 0]


class GradientExchange:
    """Collects the gradients of the units of one step, those of all ranks."""

    def __init__(self, synthetic_data: SyntheticData, units: Sequence[WorkUnit], ranks: ProcessGroup) -> None:
        self.synthetic_data, self.units, self.ranks = synthetic_data, units, ranks
        self.device = synthetic_data.device
        self.losses = torch.zeros(len(units) + 1, device=self.device)
        self.gradients: dict[int, dict[str, Tensor]] = {}

    def put(self, index: int, loss: Tensor, gradients: dict[str, Tensor]) -> None:
        """Add the loss and the gradients of unit number `index`, which this process computed."""
        self.losses[index] = loss
        self.gradients[index] = gradients

    def finish(self, stop_requested: bool) -> tuple[Tensor, bool]:
        """Store the gradient of the step in the `grad` of the learned tensors, on every process.

        Returns:
            The summed loss, and whether rank 0 was asked to stop.
        """
        for name, tensor in self.synthetic_data.learned.items():
            tensor.grad = self._gradient(name, tensor)
        self.losses[-1] = float(stop_requested and self.ranks.is_main)
        total = torch.zeros((), device=self.device)
        *losses, stop = self.ranks.all_reduce_disjoint(self.losses)
        return sum(losses, total), bool(stop) if self.ranks.is_distributed else stop_requested

    def _gradient(self, name: str, tensor: Tensor) -> Tensor:
        groups = row_groups(self.synthetic_data, name)
        by_group = [] if groups is None else [i for i, unit in enumerate(self.units) if unit.by_group]
        whole = [i for i in range(len(self.units)) if i not in set(by_group)]
        parts = [self._rows(name, tensor, groups, by_group)] if by_group and groups is not None else []
        if not self.ranks.is_distributed:
            parts += [self.gradients[index][name] for index in whole]
        elif whole:
            stacked = tensor.new_zeros(len(whole), *tensor.shape)
            for place, index in enumerate(whole):
                if index in self.gradients:
                    stacked[place] = self.gradients[index][name]
            parts += list(self.ranks.all_reduce_disjoint(stacked))
        return sum(parts[1:], parts[0]).contiguous()

    def _rows(self, name: str, tensor: Tensor, groups: Tensor, by_group: Sequence[int]) -> Tensor:
        together = torch.zeros_like(tensor)
        for index in by_group:
            if index in self.gradients:
                rows = rows_of_groups(groups, self.units[index].groups).to(tensor.device)
                together[rows] = self.gradients[index][name][rows]
        return self.ranks.all_reduce_disjoint(together)


def sync_rows(
    synthetic_data: SyntheticData,
    optimizer: torch.optim.Optimizer,
    own_groups: Sequence[int],
    ranks: ProcessGroup,
) -> None:
    """Give every process the rows of all processes, after each has stepped its own groups.

    No learned tensor may be shared across groups; each number of the optimizer's state belongs to one number of one.
    """
    for name, tensor in synthetic_data.learned.items():
        groups = row_groups(synthetic_data, name)
        assert groups is not None
        own_rows = rows_of_groups(groups, own_groups).to(tensor.device)
        states = [value for value in optimizer.state[tensor].values() if isinstance(value, Tensor)]
        for values in (tensor.detach(), *(value for value in states if value.shape == tensor.shape)):
            own = torch.zeros_like(values)
            own[own_rows] = values[own_rows]
            values.copy_(ranks.all_reduce_disjoint(own))
