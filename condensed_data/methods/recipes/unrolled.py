"""Methods that learn through training itself: the synthetic samples come step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from condensed_data import networks
from condensed_data.core import spec as specs
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.data.augment import Identity
from condensed_data.methods import coresets
from condensed_data.methods.base import Pool
from condensed_data.methods.objectives import Unrolled
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.methods.synthetic import Pixels
from condensed_data.methods.synthetic.step_sizes import WithSteps
from condensed_data.training.protocol import OrderedTraining

__all__ = ["dd"]

PUBLISHED_SAMPLES = 60_000


@dataclass(frozen=True)
class DigitNetwork(DataDefault):
    """DD's LeNet for images that it can look at, else the usual network; both with Xavier-normal weights."""

    smallest: int = 16

    def __call__(self, facts: DatasetInfo) -> Any:
        shape = facts.sample_shape
        lenet = len(shape) == 3 and min(shape[1:]) >= self.smallest
        return networks.Xavier(networks.LeNet() if lenet else networks.default_network(shape))


@dataclass(frozen=True)
class PassesOverReal(DataDefault):
    """Iterations that make so many passes over the real samples, and at least so many; DD makes 400 of 60,000 samples.

    A source of a few thousand samples has few batches, while samples and step sizes have as far to go.
    """

    passes: int = 400
    batch: int = 1024
    least: int = 2000

    def __call__(self, facts: DatasetInfo) -> int:
        return max(self.least, self.passes * -(-(facts.samples or PUBLISHED_SAMPLES) // max(1, self.batch)))


@dataclass(frozen=True)
class Tenths(DataDefault):
    """Iterations after every tenth of what `PassesOverReal` gives, however many are run: DD's 40 of 400 epochs."""

    batch: int = 1024

    def __call__(self, facts: DatasetInfo) -> tuple[int, ...]:
        iterations = PassesOverReal(batch=self.batch)(facts)
        return tuple(iterations * tenth // 10 for tenth in range(1, 10))


@register
def dd(
    ipc: int = 10,
    steps: int | None = None,
    epochs: int = 3,
    iterations: int | None = None,
    batch: int = 1024,
    lr: float = 0.01,
    step_size: float = 0.02,
    init: coresets.Init | None = None,
    network: Any = None,
    fixed: bool = False,
    pool: Pool | None = None,
    n_nets: int = 1,
    relabel: tuple[tuple[int, int], ...] = (),
    unroll: str = "checkpointed",
) -> Recipe:
    """Dataset distillation: samples and step sizes such that a few training steps on them fit the real data.

    Training is differentiated: `steps` * `epochs` steps of plain gradient descent on the samples, block by block
    in their order, each with a learned step size. The result depends on that order and on where the networks
    begin; both are kept with it.

    Args:
        ipc: synthetic samples per class, a multiple of `steps`.
        steps: blocks that the samples are split into; by default as many as samples per class, one a block. With
            steps=1 all samples are seen in one step.
        epochs: how often the blocks are gone through.
        iterations: outer steps; 400 passes over the real samples in batches of `batch`, and at least 2,000.
        batch: real samples of an iteration, from all classes.
        lr: of the outer Adam with betas (0.5, 0.999), halved after every tenth of these iterations.
        step_size: where the step sizes begin: 0.02 for MNIST, 0.001 for CIFAR-10.
        init: where the samples begin; noise.
        network: by default LeNet with Xavier-normal weights for images from 16 pixels on, else the usual network
            with such weights.
        fixed: whether the networks always begin at the same weights (fixed initialization), which are then kept
            with the samples; else at new random ones (random initialization).
        pool: other networks to begin with, for instance `GivenWeights` ones that were trained elsewhere; in place of
            `network` and `fixed`.
        n_nets: networks of an iteration; the loss is their mean.
        relabel: ((class, other), ...): real samples of `class` count as `other`: the label switching of section
            3.5, see `condensed_data.evaluation.label_switching`.
        unroll: "full", "checkpointed" or "constant", see `condensed_data.methods.objectives.unrolled`.

    References:
        Wang, Zhu, Torralba and Efros, Dataset Distillation, 2018, https://arxiv.org/abs/1811.10959, algorithm 1.
    """
    if pool is not None and (network is not None or fixed):
        raise ValueError("dd(pool=...) brings its own networks: leave network= and fixed= out.")
    if isinstance(n_nets, bool) or not isinstance(n_nets, int) or n_nets < 1:
        raise ValueError(f"dd(n_nets={n_nets!r}) must be an integer of at least 1.")
    if fixed and n_nets > 1:
        raise ValueError(
            f"dd(fixed=True, n_nets={n_nets}): a fixed initialization is one network. Use n_nets=1."
        )
    blocks = ipc if steps is None else steps
    first = pool or RandomInit(network or DigitNetwork(), period=None if fixed else 1)
    sampler = TrainingSteps(steps=blocks, epochs=epochs, batch=batch)
    pools = [first, *(specs.set_field(first, "member", member) for member in range(1, n_nets))]
    return Recipe(
        name="dd",
        synthetic=WithSteps(Pixels(init or coresets.Noise()), steps=blocks * epochs, lr=step_size),
        terms=tuple(Term(Unrolled(unroll, relabel), one, sampler, Identity(), 1 / n_nets) for one in pools),
        optimizer=Optimizer("adam", lr=lr, betas=(0.5, 0.999), milestones=Tenths(batch)),
        iterations=PassesOverReal(batch=batch) if iterations is None else iterations,
        ipc=ipc,
        training=OrderedTraining(),
        paper="Wang, Zhu, Torralba and Efros, Dataset Distillation, 2018, arXiv:1811.10959",
        deviations="Every real batch is drawn anew from all samples, so a pass over them is one in number; no "
        "random crops and flips of real images; LeNet also stands for the paper's larger network for CIFAR-10.",
    )
