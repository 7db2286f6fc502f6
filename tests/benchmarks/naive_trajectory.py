"""A student's steps in a plain loop that is differentiated whole, in fp32: part of `naive.py`.

Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932, equation 2. Which expert, which samples and which
augmentation a step takes are the run's draws, so that the first sweeps of both must agree.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from condensed_data.parts import Batch
from condensed_data.run import Run
from condensed_data.spec import concrete
from condensed_data.synthetic.step_sizes import NAME


class NaiveTrajectory:
    """MTT on a run's data, from where it starts.

    Args:
        run: in fp32, before its first step; its experts are looked at, and nothing of it is changed.

    Raises:
        ValueError: for learned labels, or several step sizes.
    """

    def __init__(self, run: Run) -> None:
        names = set(run.synthesis.learned) - {"images"}
        if names != {NAME} or run.synthesis.learned[NAME].numel() != 1:
            raise ValueError(f"There is no naive loop for mtt that learns {sorted(run.synthesis.learned)}.")
        self.run, self.term, self.sweep = run, run.recipe.terms[0], 0
        learned = {name: tensor.detach().clone() for name, tensor in run.synthesis.learned.items()}
        self.images = learned["images"].requires_grad_()
        self.rate = learned[NAME].requires_grad_()
        self.labels = run.synthesis.labels
        options: Any = run.recipe.optimizer
        self.optimizer = torch.optim.SGD(
            [
                {"params": [self.images]},
                {"params": [self.rate], "lr": concrete(dict(options.rates)[NAME])},
            ],
            options.lr,
            options.momentum,
        )

    def matching(self) -> None:
        """One step of the samples and of the step size."""
        lent = self.run.lenders[self.term.pool].lend(self.sweep)
        start = {name: weight.detach().clone() for name, weight in lent.module.named_parameters()}
        reached = self._trained(lent.module, start)
        left = torch.stack([(reached[name] - lent.target[name]).square().sum() for name in start]).sum()
        whole = torch.stack([(start[name] - lent.target[name]).square().sum() for name in start]).sum()
        self.images.grad, self.rate.grad = torch.autograd.grad(left / whole, [self.images, self.rate])
        self.optimizer.step()
        synthetic: Any = self.run.recipe.synthetic
        self.rate.data.clamp_(min=synthetic.smallest)

    def _trained(self, module: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights after one step on each block of samples."""
        real, streams = self.run.context.real, self.run.context.streams
        draw = self.run.drawers[self.term.sampler].draw(self.sweep, range(real.num_groups))
        weights = {name: weight.requires_grad_() for name, weight in weights.items()}
        for step, rows in enumerate(draw.synthetic.split(list(draw.synthetic_sizes))):
            x, y = self.images[rows], self.labels[rows]
            x = self.term.augment.draw(streams, self.sweep, [step], real.sample_shape)(Batch(x, y, (len(x),)))
            loss = F.cross_entropy(functional_call(module, weights, (x,)), y)
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {
                name: weight - self.rate * slope
                for (name, weight), slope in zip(weights.items(), slopes, strict=True)
            }
        return weights

    def learning(self) -> None:
        """Experts do not learn; the next sweep follows."""
        self.sweep += 1
