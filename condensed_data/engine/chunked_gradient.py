"""The gradient of a work unit in chunks of groups that fit into the device's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from condensed_data.engine.distributed.work_plan import WorkUnit, chunks


class ChunkedGradient:
    """Accumulates a gradient over chunks of groups, and halves the chunks when memory runs out.

    Args:
        loss: (groups, terms) -> differentiable scalar.
        learned: the tensors to differentiate in, by name.
        is_separable: number of a term -> whether its loss is a sum over groups.
        device: where the loss is computed.

    Attributes:
        num_chunks: chunks per work unit; 1 if a whole one fits into memory.
    """

    def __init__(
        self,
        loss: Callable[[Sequence[int], Sequence[int]], Tensor],
        learned: Mapping[str, Tensor],
        is_separable: Callable[[int], bool],
        device: torch.device,
    ) -> None:
        self.loss, self.learned, self.is_separable, self.device = loss, learned, is_separable, device
        self.num_chunks = 1

    def __call__(self, unit: WorkUnit) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a work unit, detached, and its gradient in every learned tensor.

        Raises:
            torch.OutOfMemoryError: if nothing is left to halve.
        """
        while True:
            try:
                return self._accumulate(unit)
            except torch.OutOfMemoryError:
                self.halve(unit)

    def _accumulate(self, unit: WorkUnit) -> tuple[Tensor, dict[str, Tensor]]:
        total = torch.zeros((), device=self.device)
        gradients: dict[str, Tensor] = {}
        for groups in chunks(unit.groups, self.num_chunks):
            loss = self.loss(groups, unit.terms)
            # Not loss.backward(): that would also fill the gradients of the networks. Not every term reaches every
            # tensor (step sizes, for instance), hence materialize_grads.
            found = torch.autograd.grad(loss, list(self.learned.values()), materialize_grads=True)
            for name, gradient in zip(self.learned, found, strict=True):
                gradients[name] = gradient if name not in gradients else gradients[name].add_(gradient)
            total += loss.detach()
        return total, gradients

    def halve(self, unit: WorkUnit) -> None:
        """Compute half as many groups at once from now on.

        Raises:
            torch.OutOfMemoryError: if a chunk is one group already, or a term needs all groups together.
        """
        if self.num_chunks >= len(unit.groups) or not all(map(self.is_separable, unit.terms)):
            raise torch.OutOfMemoryError(
                "One step does not fit into the memory of the device. Use a smaller sampler.batch, ipc or network, or "
                "device='cpu'."
            )
        self.num_chunks *= 2
        torch.cuda.empty_cache()
