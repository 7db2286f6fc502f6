"""Training steps in a plain fp32 loop through which autograd differentiates: part of `naive.py`.

    dd   the loss of real samples after training on the synthetic ones   Wang et al., 2018, algorithm 1
    mtt  the trained weights against those of an expert                  Cazenavette et al., CVPR 2022, equation 2

Letters: T training steps, B rows of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from naive_samples import Samples
from naive_training import CurrentNetwork
from torch import Tensor, nn
from torch.func import functional_call

from condensed_data.core.batch import Batch
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.base import PairIndices
from condensed_data.methods.objectives import Trajectory, Unrolled
from condensed_data.methods.recipe import Term

Weights = dict[str, Tensor]
Block = tuple[Tensor, Tensor]  # rows (B, *sample) and their classes (B,)


def unrolled_loss(
    term: Term, current: CurrentNetwork, samples: Samples, run: CondensationRun, iteration: int
) -> Tensor:
    """The loss of `Trajectory` or `Unrolled`.

    Args:
        current: the network with its weights before training, which stay unchanged.
        samples: with step sizes.
        run: provides the draws of samples and augmentations.
    """
    objective: Any = term.objective
    draw = run.sampler_states[term.sampler].draw(iteration, range(run.context.real.num_groups))
    blocks, rates = _blocks(term, samples, draw, run, iteration), samples.step_sizes
    assert rates is not None
    start = {name: weight.detach().clone() for name, weight in current.module.named_parameters()}
    reached = _trained(current.module, start, blocks, rates.expand(len(blocks)))
    if isinstance(objective, Trajectory):
        return _squares(reached, current.target) / _squares(start, current.target)
    x, y = run.context.real.batch(draw.real, run.context.device)
    return _real_loss(objective, current.module, reached, x, y)


def _blocks(term: Term, samples: Samples, draw: PairIndices, run: CondensationRun, iteration: int) -> list[Block]:
    blocks = []
    for step, index in enumerate(draw.synthetic.split(list(draw.synthetic_sizes))):
        x, y = samples.rows(index), run.synthetic_data.labels[index].to(run.context.device)
        applied = term.augment.draw(run.context.rng, iteration, [step], run.context.real.sample_shape)
        blocks.append((applied(Batch(x, y, (len(x),))), y))
    return blocks


def _trained(module: nn.Module, weights: Weights, blocks: list[Block], rates: Tensor) -> Weights:
    """The weights after one step of gradient descent on each block."""
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    for (x, y), rate in zip(blocks, rates, strict=True):
        loss = F.cross_entropy(functional_call(module, weights, (x,)), y)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {
            name: weight - rate * gradient for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }
    return weights


def _squares(weights: Weights, target: Any) -> Tensor:
    return torch.stack([(weight - target[name]).square().sum() for name, weight in weights.items()]).sum()


def _real_loss(objective: Unrolled, module: nn.Module, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    labels = y.clone()
    for old, new in objective.relabel:
        labels[y == old] = new
    return F.cross_entropy(functional_call(module, weights, (x,)), labels)
