"""Samplers for training that is part of the method: the synthetic samples come step by step.

Letters: T training steps, N synthetic samples, B rows of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.methods.base import PairIndices, Sampler, SamplerState, SyntheticData
from condensed_data.training.context import Context

ORDERS = ("stored", "shuffled")


@dataclass(frozen=True)
class TrainingSteps(Sampler):
    """The steps of one training run on the synthetic samples, and one batch of real samples of all classes.

    The synthetic blocks are the training steps in order, the real samples are one block. An augmentation acts
    on the synthetic side alone, with a draw of its own each step.

    * DD (Wang et al., 2018, https://arxiv.org/abs/1811.10959): `TrainingSteps(steps=10, epochs=3)`. The samples of
      every class are split evenly over 10 blocks, which are gone through 3 times in the same order: T = 30.
    * MTT (Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932):
      `TrainingSteps(steps=50, order="shuffled", batch=0)`. Every step takes the next `synthetic` samples of a random
      permutation; when it is used up, the next begins.

    Args:
        steps: blocks (order "stored") or training steps (order "shuffled").
        epochs: how often the steps are repeated; T = steps * epochs.
        order: "stored" or "shuffled".
        batch: real samples of an iteration, drawn without replacement from all classes; all of a smaller source;
            0 for none, where the objective does not look at them.
        synthetic: samples of a step in order "shuffled"; None for all N. The last step of a permutation has
            what is left.

    Raises:
        ValueError: for a value out of range; when the run starts, for classes whose samples the steps
            don't divide.
    """

    steps: int | DataDefault
    epochs: int = 1
    order: str = "stored"
    batch: int = 1024
    synthetic: int | None = None

    def __post_init__(self) -> None:
        _check_count("steps", self.steps, 1)
        _check_count("epochs", self.epochs, 1)
        _check_count("batch", self.batch, 0)
        if self.order not in ORDERS:
            raise ValueError(f"TrainingSteps(order={self.order!r}) is unknown; known: 'stored', 'shuffled'.")
        if self.synthetic is not None:
            _check_count("synthetic", self.synthetic, 1)
            if self.order == "stored":
                raise ValueError(
                    f"TrainingSteps(synthetic={self.synthetic}) needs order='shuffled': stored blocks divide the set."
                )

    def start(self, context: Context, synthetic_data: SyntheticData) -> SamplerState:
        blocks = self._blocks(synthetic_data.labels) if self.order == "stored" else ()
        samples, count = len(context.real), len(synthetic_data.groups)
        return _TrainingStepsState(self, samples, count, context.real.num_groups, blocks, context.rng)

    def _blocks(self, labels: Tensor) -> tuple[Tensor, ...]:
        """Indices of every block: an equal share of every class, class by class. Classes follow each other."""
        sizes = labels.bincount().tolist()
        steps = require_resolved(self.steps)
        odd = [size for size in sizes if size % steps]
        if odd:
            raise ValueError(
                f"TrainingSteps(steps={steps}) must divide the samples of every class, and one has {odd[0]}. "
                f"Use an ipc that is a multiple of {steps}, or fewer steps."
            )
        parts = [rows.chunk(steps) for rows in torch.arange(len(labels)).split(sizes)]
        return tuple(torch.cat(block) for block in zip(*parts, strict=True))


def _check_count(name: str, count: object, least: int) -> None:
    if isinstance(count, DataDefault):
        return  # checked when it is resolved
    if isinstance(count, bool) or not isinstance(count, int) or count < least:
        raise ValueError(f"TrainingSteps({name}={count!r}) must be an integer of at least {least}.")


@dataclass
class _TrainingStepsState(SamplerState):
    spec: TrainingSteps
    samples: int
    count: int
    num_groups: int
    blocks: tuple[Tensor, ...]
    rng: RandomStreams
    ahead: ClassVar[bool] = True

    def draw(self, iteration: int, groups: Sequence[int]) -> PairIndices:
        if len(groups) != self.num_groups:
            raise ValueError(
                "Cannot use TrainingSteps with step_per='class': its training steps take all classes together. "
                "Use step_per='iteration'."
            )
        size = min(self.spec.batch, self.samples)
        real = self.rng.choice("real", iteration, 0, self.samples, size)
        steps = self._steps(iteration)
        sizes = tuple(map(len, steps))
        return PairIndices(real, (size,), torch.cat(steps), sizes, tuple(range(len(sizes))))

    def _steps(self, iteration: int) -> list[Tensor]:
        if self.spec.order == "stored":
            return [*self.blocks] * self.spec.epochs
        size, steps = self.spec.synthetic or self.count, require_resolved(self.spec.steps) * self.spec.epochs
        rounds = -(-steps // -(-self.count // size))
        orders = (
            torch.from_numpy(self.rng.numpy("order", iteration, i).permutation(self.count))
            for i in range(rounds)
        )
        return [step for order in orders for step in order.split(size)][:steps]
