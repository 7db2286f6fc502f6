"""Training as a differentiable function: a student's steps on the synthetic samples, and the objective of DD.

Dataset distillation: Wang, Zhu, Torralba and Efros, 2018, https://arxiv.org/abs/1811.10959, equations 3 to 5.
A network at weights w_0 takes T steps w_{t+1} = w_t - eta_t g_t, where g_t is the gradient at w_t of the mean
cross-entropy on block t of the synthetic samples. A loss at w_T is differentiated through all steps, in one of three
ways, which differ in memory and in the terms that they compute:

* "full": plain automatic differentiation through the unrolled steps. Memory grows with T times the activations of a
  step.
* "checkpointed": the same derivative; only the weights of every step are kept, and the activations of a step are
  recomputed in the backward pass. Memory grows with T times the weights, time by about a third.
* "constant": only w_0 is kept, and the backward pass recomputes the steps in their order. For this,
  dw_{t+1}/dw_t = I - eta_t dg_t/dw_t is approximated by I: **every term with a second derivative in the weights is
  dropped**, that is, all paths from a sample through w_{t+1} into later gradients. The derivative of a sample is then
  -eta_t (dg_t/dx_t)^T dL/dw_T, and that of a step size -g_t . dL/dw_T. The loss itself is the same. The authors of
  TESLA (Cui et al., ICML 2023, https://arxiv.org/abs/2211.10586) compute it like this.

Letters: T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from condensed_data import networks
from condensed_data.core.batch import NetworkView, Pair
from condensed_data.core.validation import check_choice
from condensed_data.methods.base import MemoryFootprint, Objective
from condensed_data.methods.objectives.classification import cross_entropy

UNROLLS = ("full", "checkpointed", "constant")
Weights = tuple[Tensor, ...]
Gradient = Callable[[Weights, Tensor, Tensor, bool], Weights]


@dataclass(frozen=True)
class Unrolled(Objective):
    """DD: mean cross-entropy on the real batch after T training steps on the synthetic samples.

    Args:
        unroll: how the steps are differentiated, see the module docstring: "full", "checkpointed" or "constant".
        relabel: ((class, other), ...): real samples of `class` are labeled `other`. With one pair this is the paper's
            attack, section 3.5: after training, networks classify the class as the other one.

    Raises:
        ValueError: when called, without step sizes or real samples, or for a network in training mode with batch
            normalization or dropout.
    """

    unroll: str = "full"
    relabel: tuple[tuple[int, int], ...] = ()
    separable: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("Unrolled", "unroll", self.unroll, UNROLLS)
        if any(len(pair) != 2 or pair[0] < 0 or pair[1] < 0 for pair in self.relabel):
            raise ValueError(
                f"Unrolled(relabel={self.relabel!r}) must consist of pairs of class indices, such as ((0, 1),)."
            )

    def memory_footprint(self, real: Sequence[int], synthetic: Sequence[int]) -> MemoryFootprint:
        return unrolled_footprint(self.unroll, synthetic, sum(real))

    def check_sizes(self, real: Sequence[int], synthetic: Sequence[int]) -> None:
        if sum(real) == 0:
            raise ValueError("Unrolled needs real samples. Use TrainingSteps(batch=1024).")

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        self.check_sizes(pair.real.sizes, pair.synthetic.sizes)
        _check_repeatable(net.module)
        weights = trained_weights(net, pair, self.unroll)
        logits, labels = net.functional(weights, pair.real.x), pair.real.y
        for old, new in self.relabel:
            if max(old, new) >= logits.shape[1]:
                raise ValueError(
                    f"Unrolled(relabel={self.relabel!r}) needs class indices from 0 to {logits.shape[1] - 1}."
                )
            labels = torch.where(pair.real.y == old, new, labels)
        return cross_entropy(logits, labels).mean()


def unrolled_footprint(unroll: str, steps: Sequence[int], real: int = 0) -> MemoryFootprint:
    """Memory of the derivative through training steps of so many rows, and a loss on `real` rows after the last.

    "full" keeps the activations, weights and gradients of all steps; the others the activations of one step, and
    "checkpointed" the weights of every step.
    """
    if unroll == "full":
        return MemoryFootprint(2 * sum(steps), real, 2 * len(steps), "unroll='checkpointed', fewer training steps")
    weights = len(steps) + 2 if unroll == "checkpointed" else 4
    return MemoryFootprint(2 * max(steps), real, weights, "fewer samples a training step, fewer training steps")


def _check_repeatable(module: nn.Module) -> None:
    """Raise ValueError for a network whose training steps cannot be recomputed exactly."""
    if module.training and networks.has_batch_norm(module):
        why = "normalizes over the batch and updates running statistics"
    elif networks.is_stochastic(module):
        why = "has dropout"
    else:
        return
    raise ValueError(
        f"Cannot use Unrolled with a {type(module).__name__} that {why}: its training steps cannot be recomputed "
        "exactly for the second derivative. Use another network (such as norm='instance'), or the GivenWeights or "
        "Pretrained pool, whose networks are in evaluation mode."
    )


def trained_weights(net: NetworkView, pair: Pair, unroll: str = "full") -> dict[str, Tensor]:
    """The weights of `net` after one training step on every synthetic block, differentiable in the pair.

    Args:
        net: network at w_0; it is not changed.
        pair: the blocks of its synthetic side are the steps; it has T `step_sizes`, or one for all steps.
        unroll: one of `UNROLLS`.

    Raises:
        ValueError: for a pair without step sizes, or with a wrong number of them.
    """
    start = {name: weight.detach() for name, weight in net.module.named_parameters()}
    side = pair.synthetic
    sizes = _step_sizes(pair.step_sizes, len(side.sizes))
    gradient = _gradient_of(net, tuple(start))
    weights: Any = tuple(start.values())
    if unroll == "constant":
        weights = _Constant.apply(gradient, side.sizes, sizes, side.x, side.y, *weights)
    else:
        for size, x, y in zip(sizes.unbind(), side.split(side.x), side.split(side.y), strict=True):
            weights = _step(gradient, unroll, size, x, y, weights)
    return dict(zip(start, weights, strict=True))


def _step_sizes(sizes: Tensor | None, steps: int) -> Tensor:
    if sizes is None:
        raise ValueError(
            "Cannot train on samples without step sizes. Wrap the synthetic data: WithSteps(Pixels(), lr=0.01)."
        )
    if len(sizes) not in (1, steps):
        raise ValueError(
            f"WithSteps(steps={len(sizes)}) does not fit TrainingSteps of {steps} training steps. Use steps={steps}, "
            "or 1 for one step size for all."
        )
    return sizes.expand(steps)


def _gradient_of(net: NetworkView, names: tuple[str, ...]) -> Gradient:
    """A function (weights, x, y, create_graph) -> gradient of the mean cross-entropy in the weights."""

    def gradient(weights: Weights, x: Tensor, y: Tensor, graph: bool) -> Weights:
        loss = cross_entropy(net.functional(dict(zip(names, weights, strict=True)), x), y).mean()
        # zeros for weights that the forward pass does not use
        return torch.autograd.grad(loss, weights, create_graph=graph, materialize_grads=True)

    return gradient


def _step(gradient: Gradient, unroll: str, size: Tensor, x: Tensor, y: Tensor, weights: Weights) -> Weights:
    if unroll == "checkpointed":
        stepped: Weights = _Checkpointed.apply(gradient, size, x, y, *weights)
        return stepped
    # initial weights are leaves without a gradient, later ones have the graph of the previous steps
    weights = tuple(w if w.requires_grad else w.requires_grad_() for w in weights)
    slopes = gradient(weights, x, y, True)
    return tuple(w - size * slope for w, slope in zip(weights, slopes, strict=True))


class _Checkpointed(torch.autograd.Function):
    """One step that saves its inputs only and is recomputed in the backward pass."""

    @staticmethod
    def forward(ctx: Any, gradient: Gradient, size: Tensor, x: Tensor, y: Tensor, *weights: Tensor) -> Weights:
        ctx.gradient = gradient
        ctx.save_for_backward(size, x, y, *weights)
        return _plain_step(gradient, size, x, y, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        inputs = _leaves(ctx.saved_tensors)
        size, x, y, *weights = inputs
        with torch.enable_grad():
            slopes = ctx.gradient(tuple(weights), x, y, True)
            stepped = [w - size * slope for w, slope in zip(weights, slopes, strict=True)]
            wanted = [tensor for tensor in inputs if tensor.requires_grad]
            found = iter(torch.autograd.grad(stepped, wanted, outer, materialize_grads=True))
        return (None, *(next(found) if tensor.requires_grad else None for tensor in inputs))


class _Constant(torch.autograd.Function):
    """All steps; the backward pass recomputes them, with every dw_{t+1}/dw_t approximated by the identity."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Gradient, rows: tuple[int, ...], sizes: Tensor, x: Tensor, y: Tensor, *weights: Tensor
    ) -> Weights:
        ctx.gradient, ctx.rows = gradient, rows
        ctx.save_for_backward(sizes, x, y, *weights)
        for size, some_x, some_y in zip(sizes, x.split(list(rows)), y.split(list(rows)), strict=True):
            weights = _plain_step(gradient, size, some_x, some_y, weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        sizes, x, y, *weights = ctx.saved_tensors
        soft, found = y.is_floating_point(), []
        blocks = zip(sizes, x.split(list(ctx.rows)), y.split(list(ctx.rows)), strict=True)
        for size, some_x, some_y in blocks:
            leaves = _leaves((size, some_x, some_y, *weights))
            with torch.enable_grad():
                slopes = ctx.gradient(tuple(leaves[3:]), *leaves[1:3], True)
                moved = [-leaves[0] * slope for slope in slopes]
                wanted = leaves[: 3 if soft else 2]
                found.append(torch.autograd.grad(moved, wanted, outer, materialize_grads=True))
            weights = [w - size * slope.detach() for w, slope in zip(weights, slopes, strict=True)]
        sizes_, x_, *y_ = zip(*found, strict=True)
        labels = torch.cat(y_[0]) if soft else None
        return (None, None, torch.stack(sizes_), torch.cat(x_), labels, *outer)


def _plain_step(gradient: Gradient, size: Tensor, x: Tensor, y: Tensor, weights: Weights) -> Weights:
    """One step without a graph."""
    leaves = tuple(w.detach().requires_grad_() for w in weights)
    with torch.enable_grad():
        slopes = gradient(leaves, x.detach(), y.detach(), False)
    return tuple(w.detach() - size.detach() * slope for w, slope in zip(leaves, slopes, strict=True))


def _leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same values as leaves; those of a floating-point type require a gradient."""
    return [tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in tensors]
