"""LAMB: Adam whose step is scaled, tensor by tensor, to the norm of what it changes.

You et al., ICLR 2020, https://arxiv.org/abs/1904.00962, algorithm 2, in the form of optax, which FRePo uses: the factor
is |x| / |update| itself, without bounds, and 1 where either norm is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """x <- x - lr * |x| / |u| * u, where u is Adam's update at learning rate 1; there is no weight decay.

    Args:
        params: tensors, or groups of them with their own `lr`.
        lr: learning rate, positive: the change of a tensor, relative to its norm.
        betas: of Adam's averages of the gradient and of its square, each in [0, 1).
        eps: added to the root of the second average.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step; tensors without a gradient stay as they are. `closure` is not used."""
        for group in self.param_groups:
            for x in group["params"]:
                if x.grad is not None:
                    self._step(x, x.grad, group["lr"], group["betas"], group["eps"])

    def _step(self, x: Tensor, gradient: Tensor, lr: float, betas: tuple[float, float], eps: float) -> None:
        state = self.state[x]
        if not state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(x), "square": torch.zeros_like(x)}
        state["step"] += 1
        number = float(state["step"])
        state["mean"].lerp_(gradient, 1 - betas[0])
        state["square"].lerp_(gradient.square(), 1 - betas[1])
        mean, square = state["mean"] / (1 - betas[0] ** number), state["square"] / (1 - betas[1] ** number)
        update = mean / (square.sqrt() + eps)
        norm, length = x.norm(), update.norm()
        x.sub_(lr * torch.where((norm > 0) & (length > 0), norm / length, 1.0) * update)
