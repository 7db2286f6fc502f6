"""What every kind of training here shares: the samples of a step, its gradient, and the loop over a protocol's steps.

Letters: N samples, B rows of a batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import Augment
from condensed_data.data.cutmix import mix
from condensed_data.training.compute import split_evenly
from condensed_data.training.protocol import Training


def augment_batch(
    x: Tensor,
    y: Tensor,
    augment: Augment,
    rng: RandomStreams,
    step: int,
    *,
    num_classes: int,
    cutmix: float = 0.0,
    beta: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Augment the batch of one training step, then apply CutMix with this probability.

    x is (B, *sample) standardized, y (B,) class indices or (B, K) probabilities; `rng` and `step` name the draws, and
    `beta` is both parameters of CutMix's Beta distribution. The labels stay as given or, with CutMix, become (B, K).
    """
    x = augment.draw(rng, step, [0], tuple(x.shape[1:]))(Batch(x, y, (len(x),)))
    if not cutmix:
        return x, y
    y = F.one_hot(y, num_classes).to(x.dtype) if y.ndim == 1 else y
    return mix(x, y, rng, step, probability=cutmix, beta=beta)


def backward_in_chunks(loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, rows: int | None) -> Tensor:
    """Add the gradient of a batch's mean loss to the parameters, computed in chunks of at most `rows` rows, if given.

    `loss` sums over the rows of x (B, *sample) and y (B,) or (B, K). Returns the mean loss, detached.
    """
    total = torch.zeros((), device=x.device)
    for chunk in split_evenly(len(x), rows):
        part = loss(x[chunk], y[chunk]) / len(x)
        part.backward()
        total += part.detach()
    return total


def run_protocol(
    training: Training,
    samples: int,
    module: nn.Module,
    batches: Callable[[int], Sequence[Tensor]],
    step: Callable[[torch.optim.Optimizer, Tensor, int], Tensor],
    on_epoch: Callable[[int], None],
    *,
    weights: Sequence[Tensor] | None = None,
) -> Tensor:
    """Take all steps of a resolved protocol; returns the loss of the last one.

    Args:
        samples: N.
        batches: epoch, from 0 -> the sample indices of each of its steps.
        step: (optimizer, indices, number of the step) -> loss, detached.
        on_epoch: called after every epoch with the number of completed ones.
        weights: optimized instead of the module's parameters; see `Training.make_optimizer`.
    """
    drops, steps = training.drops(samples), training.steps(samples)
    optimizer = training.make_optimizer(module, weights=weights)
    last, number = torch.zeros(()), 0
    for epoch in range(training.started_epochs(samples)):
        for index in batches(epoch)[: steps - number]:
            training.tune(optimizer, number, samples)
            last = step(optimizer, index, number)
            number += 1
            if number in drops:
                passed = sum(drop <= number for drop in drops)
                optimizer = training.after_drop(optimizer, module, passed, weights=weights)
        on_epoch(epoch + 1)
    return last
