"""Training several networks of one architecture at once, with stacked weights.

Every step is one vectorized forward and backward pass (`torch.func`). Each network gets the shuffles and augmentations
that it would get alone, and optimizers work elementwise, so that results equal those of training one after another, up
to rounding.

On a CPU this is faster if steps are so small that Python dominates, and slower if convolutions do, because vectorized
convolutions are grouped. Measured with four networks on one thread, by the forward pass of one network's step: 1.25 to
2.2 times faster below 4 MFLOP (ConvNets of width 4 to 16 on 12 images of 12x12, MLPs), 0.45 to 1.1 times as fast above
8. Letters: S networks, N samples, B rows of a batch, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from condensed_data.core.device import device_time, to_device
from condensed_data.core.rng import RandomStreams, seeded_rng
from condensed_data.networks import flops
from condensed_data.training.compute import loss_and_logits
from condensed_data.training.steps import run_protocol
from condensed_data.training.trainer import Trainer

PROBED_STEPS = 3
SMALL = 4e6  # floating-point operations of one network's forward pass in a step, see above


class BatchedModel(nn.Module):
    """The weights of S networks of one architecture, (S, *shape) each, for one optimizer."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        weights, self.state = stack_module_state(list(modules))
        self.names = list(weights)
        self.stacked = nn.ParameterList([nn.Parameter(weight.detach()) for weight in weights.values()])
        self.skeleton = copy.deepcopy(modules[0]).to("meta")
        self.skeleton.train(modules[0].training)

    def loss(self, x: Tensor, y: Tensor, precision: str, kind: str = "cross_entropy") -> Tensor:
        """Mean loss of every network on its own batch: (S, B, *sample), (S, B) or (S, B, K) -> (S,).

        `kind` is one of `protocol.LOSSES`.
        """
        weights = dict(zip(self.names, self.stacked, strict=True))

        def one(weights: Any, buffers: Any, x: Tensor, y: Tensor) -> Tensor:
            def network(x: Tensor) -> Tensor:
                return functional_call(self.skeleton, (weights, buffers), (x,))

            return loss_and_logits(network, x, y, precision, "mean", kind)[0]

        return torch.vmap(one, randomness="different")(weights, self.state, x, y)

    def unstack(self, modules: Sequence[nn.Module]) -> None:
        """Copy the weights back into the networks."""
        stacked = {**dict(zip(self.names, self.stacked, strict=True)), **self.state}
        for index, module in enumerate(modules):
            module.load_state_dict({name: value[index].detach() for name, value in stacked.items()}, strict=False)


def fit(trainer: Trainer, rng: Sequence[RandomStreams], on_epoch: Callable[[int, nn.Module], None]) -> list[nn.Module]:
    """Train new networks, one for each of `rng`, as `Trainer.fit` trains each; returned in evaluation mode.

    `on_epoch` is called after every epoch with the number of completed ones and the current first network. A loss that
    ends as NaN or infinite raises FloatingPointError.
    """
    modules, training = [trainer.new(one) for one in rng], trainer.training
    model = BatchedModel(modules)

    def batches(epoch: int) -> Sequence[Tensor]:
        orders = torch.stack([trainer.order(one, epoch) for one in rng])
        return to_device(orders, trainer.images.device).split(training.batch_size, 1)

    def report(completed: int) -> None:
        model.unstack(modules[:1])  # the one that is reported
        on_epoch(completed, modules[0])

    with seeded_rng(rng[0]):
        samples, weights = len(trainer.images), list(model.stacked)
        last = run_protocol(
            training, samples, model.skeleton, batches, partial(_step, trainer, model, rng), report, weights=weights
        )
    model.unstack(modules)
    if not bool(torch.isfinite(last).all()):
        raise FloatingPointError(f"Training diverged to losses {last.tolist()}: lower Training(lr={training.lr}).")
    return [module.eval() for module in modules]


def _step(
    trainer: Trainer,
    stack: BatchedModel,
    rng: Sequence[RandomStreams],
    optimizer: torch.optim.Optimizer,
    index: Tensor,
    step: int,
) -> Tensor:
    batches = [trainer.batch(rows, one, step) for rows, one in zip(index, rng, strict=True)]
    x, y = (torch.stack(part) for part in zip(*batches, strict=True))
    optimizer.zero_grad()
    losses = stack.loss(x, y, trainer.precision, trainer.training.loss)
    losses.sum().backward()
    optimizer.step()
    return losses.detach()


def should_batch(trainer: Trainer, count: int) -> bool:
    """Whether `count` networks train faster together than one after another.

    On a CPU this follows from the size of a step, so that the same configuration gives the same bits in every process;
    on other devices a few steps of both are measured.
    """
    if count == 1 or trainer.compiled:
        return False
    device = trainer.images.device
    rows = torch.arange(min(len(trainer.images), trainer.training.batch_size), device=device)
    if device.type == "cpu":
        return flops(trainer.new(RandomStreams(0)), trainer.images[:1]) * len(rows) < SMALL
    return faster(trainer, count, rows)


def faster(trainer: Trainer, count: int, rows: Tensor) -> bool:
    """Measure `should_batch` on a batch of the samples with these indices (B,)."""
    device, rng = rows.device, [RandomStreams(run) for run in range(count)]
    module, stack = trainer.new(rng[0]), BatchedModel([trainer.new(one) for one in rng])
    alone = trainer.training.make_optimizer(module)
    together = trainer.training.make_optimizer(stack.skeleton, weights=stack.stacked)

    def one_step(step: int) -> None:
        trainer.step(module, alone, rows, rng[0], step)

    def all_step(step: int) -> None:
        _step(trainer, stack, rng, together, rows.expand(count, -1), step)

    return _seconds(all_step, device) < count * _seconds(one_step, device)


def _seconds(step: Callable[[int], object], device: torch.device) -> float:
    """Time of a few steps, after one to warm up."""
    step(0)
    started = device_time(device)
    for number in range(1, PROBED_STEPS + 1):
        step(number)
    return device_time(device) - started
