"""Draws the mini-batches of a training run on the synthetic samples, for methods that unroll such a run.

Letters: T training steps, N synthetic samples, B rows of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_choice, check_count
from condensed_data.methods.base import PairIndices, Sampler, SamplerState, SyntheticData, SyntheticSpec
from condensed_data.training.context import Context


@dataclass(frozen=True)
class TrainingSteps(Sampler):
    """The steps of one training run on the synthetic samples, and one batch of real samples of all classes.

    Synthetic blocks are the training steps in order; real samples form one block. Only the synthetic side is
    augmented, with a new random draw in each step.

    * DD (Wang et al., 2018, https://arxiv.org/abs/1811.10959): `TrainingSteps(steps=10, epochs=3)`. The samples of
      every class are split evenly over 10 blocks, which are used 3 times in the same order: T = 30.
    * MTT (Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932):
      `TrainingSteps(steps=50, order="shuffled", batch=0)`. Every step takes `synthetic` samples of a random
      permutation; after its end, the next permutation starts.
    * HaBa (Liu S. et al., NeurIPS 2022, https://arxiv.org/abs/2210.16774) adds `one_decoder=True`: a step decodes its
      codes by one random decoder, so that a permutation is one of the codes.

    Args:
        steps: blocks (order "stored") or training steps (order "shuffled").
        epochs: repetitions of the steps; T = steps * epochs.
        order: "stored" or "shuffled".
        batch: real samples per iteration, drawn without replacement from all classes; all of a smaller source; 0 for
            none, if the objective does not use them.
        synthetic: samples per step in order "shuffled"; None for all N. If it does not divide N, the first step of a
            permutation has the remainder, as in the authors' code.
        one_decoder: in order "shuffled", whether all samples of a step are from one decoder.

    Raises:
        ValueError: when the run starts, if `steps` does not divide the samples of a class.
    """

    steps: int | DataDefault
    epochs: int = 1
    order: str = "stored"
    batch: int = 1024
    synthetic: int | DataDefault | None = None
    one_decoder: bool = False

    def __post_init__(self) -> None:
        check_count("TrainingSteps", "steps", self.steps, or_default=True)
        check_count("TrainingSteps", "epochs", self.epochs)
        check_count("TrainingSteps", "batch", self.batch, 0)
        check_choice("TrainingSteps", "order", self.order, ("stored", "shuffled"))
        if self.synthetic is not None:
            check_count("TrainingSteps", "synthetic", self.synthetic, or_default=True)
        shuffled = {"synthetic": self.synthetic, "one_decoder": self.one_decoder or None}
        for name, value in shuffled.items():
            if self.order == "stored" and value is not None:
                raise ValueError(
                    f"TrainingSteps({name}={value}) needs order='shuffled': the blocks of order='stored' already "
                    "divide all samples."
                )

    def check_synthetic(self, synthetic: SyntheticSpec) -> None:
        learned = getattr(synthetic, "steps", None)
        if not isinstance(learned, int) or isinstance(self.steps, DataDefault):
            return
        if learned not in (1, self.steps * self.epochs):
            raise ValueError(
                f"WithSteps(steps={learned}) does not fit TrainingSteps(steps={self.steps}, epochs={self.epochs}), "
                f"which is {self.steps * self.epochs} training steps. Use WithSteps(steps={self.steps * self.epochs}), "
                "or give steps= and epochs= to the recipe's function."
            )

    def start(self, context: Context, synthetic_data: SyntheticData) -> SamplerState:
        blocks = self._blocks(synthetic_data.labels) if self.order == "stored" else ()
        return _TrainingStepsState(self, context, synthetic_data, blocks)

    def _blocks(self, labels: Tensor) -> tuple[Tensor, ...]:
        """Indices (B,) of every block, which holds equally many samples of every class; `labels` (N,) are sorted."""
        sizes = labels.bincount().tolist()
        steps = require_resolved(self.steps)
        indivisible = [size for size in sizes if size % steps]
        if indivisible:
            raise ValueError(
                f"TrainingSteps(steps={steps}) must divide the samples of every class, but one has {indivisible[0]}. "
                f"Use an ipc that is a multiple of {steps}, or fewer steps."
            )
        chunks = [rows.chunk(steps) for rows in torch.arange(len(labels)).split(sizes)]
        return tuple(torch.cat(block) for block in zip(*chunks, strict=True))


@dataclass
class _TrainingStepsState(SamplerState):
    spec: TrainingSteps
    context: Context
    synthetic_data: SyntheticData
    blocks: tuple[Tensor, ...]
    can_prefetch: ClassVar[bool] = True

    def draw(self, iteration: int, groups: Sequence[int]) -> PairIndices:
        if len(groups) != self.context.real.num_groups:
            raise ValueError(
                "Cannot use TrainingSteps with step_per='class': its training steps contain all classes. "
                "Use step_per='iteration'."
            )
        available = len(self.context.real)
        size = min(self.spec.batch, available)
        real = self.context.rng.choice("real", iteration, 0, available, size)
        steps = self._steps(iteration)
        sizes = tuple(map(len, steps))
        return PairIndices(real, (size,), torch.cat(steps), sizes, tuple(range(len(sizes))))

    def _steps(self, iteration: int) -> list[Tensor]:
        if self.spec.order == "stored":
            return [*self.blocks] * self.spec.epochs
        decoders = self.synthetic_data.decoders_per_code if self.spec.one_decoder else 1
        count = len(self.synthetic_data.groups) // decoders
        size = require_resolved(self.spec.synthetic) or count
        steps = require_resolved(self.spec.steps) * self.spec.epochs
        permutations = ceil(steps / ceil(count / size))
        rngs = (self.context.rng.numpy("order", iteration, index) for index in range(permutations))
        orders = (torch.from_numpy(rng.permutation(count)) for rng in rngs)
        rows = [step for order in orders for step in order.split(size)[::-1]][:steps]
        if decoders == 1:
            return rows
        chosen = self.context.rng.numpy("decoder of a step", iteration).integers(decoders, size=steps).tolist()
        each = self.synthetic_data.rows_per_decoder
        return [(row // each * decoders + one) * each + row % each for row, one in zip(rows, chosen, strict=True)]
