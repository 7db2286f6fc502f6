"""Methods that differentiate through training on the synthetic samples: DD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from condensed_data import networks
from condensed_data.core import spec as specs
from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.core.validation import check_count
from condensed_data.data.augment import Identity
from condensed_data.methods import coresets
from condensed_data.methods.base import Pool
from condensed_data.methods.objectives import Unrolled
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.recipes.published import Published, SettingsTable
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.methods.synthetic import Pixels
from condensed_data.methods.synthetic.step_sizes import WithSteps
from condensed_data.networks import NetworkLike
from condensed_data.training.protocol import OrderedTraining

__all__ = ["dd"]

PUBLISHED_SAMPLES = 60_000
SettingsTable("dd", ("step_size",), {("mnist", 1): (0.02,), ("mnist", 10): (0.02,), ("cifar10", 10): (0.001,)})


@dataclass(frozen=True)
class DigitNetwork(DataDefault):
    """DD's LeNet for images from `smallest` pixels on, else the default network; with Xavier-normal weights."""

    smallest: Count = 16

    def __call__(self, info: DatasetInfo) -> Any:
        shape = info.sample_shape
        lenet = len(shape) == 3 and min(shape[1:]) >= self.smallest
        return networks.Xavier(networks.LeNet() if lenet else networks.default_network(shape))


@dataclass(frozen=True)
class PassesOverReal(DataDefault):
    """Iterations for so many passes over the real samples, but at least `least`; DD makes 400 over 60,000 samples.

    The minimum is for sources of a few thousand samples, whose passes have too few batches to converge.
    """

    passes: Count = 400
    batch: Count = 1024
    least: Count = 2000

    def __call__(self, info: DatasetInfo) -> int:
        return max(self.least, self.passes * -(-(info.samples or PUBLISHED_SAMPLES) // max(1, self.batch)))


@dataclass(frozen=True)
class Tenths(DataDefault):
    """Milestones at every tenth of the iterations of `PassesOverReal`, however many are run: DD's 40 of 400 epochs."""

    batch: Count = 1024

    def __call__(self, info: DatasetInfo) -> tuple[int, ...]:
        iterations = PassesOverReal(batch=self.batch)(info)
        return tuple(iterations * tenth // 10 for tenth in range(1, 10))


@register
def dd(
    ipc: Count = 10,
    steps: int | None = None,
    epochs: int = 3,
    iterations: Natural | None = None,
    batch: int = 1024,
    lr: float = 0.01,
    step_size: float | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    fixed: bool = False,
    pool: Pool | None = None,
    n_nets: int = 1,
    relabel: tuple[tuple[int, int], ...] = (),
    unroll: str = "checkpointed",
) -> Recipe:
    """Dataset distillation: samples and step sizes such that a few training steps on them fit the real data.

    Wang, Zhu, Torralba and Efros, 2018, https://arxiv.org/abs/1811.10959, algorithm 1.

    The loss is differentiated through `steps` * `epochs` steps of plain gradient descent on the samples, block by block
    in a fixed order, each with a learned step size. The result is specific to this order and to the initial weights of
    the networks; both are stored with it.

    Args:
        ipc: synthetic samples per class, a multiple of `steps`.
        steps: number of blocks; by default one sample of each class per block. With steps=1 a step uses all samples.
        epochs: passes over the blocks.
        iterations: outer steps; by default 400 passes over the real samples in batches of `batch`, and at least 2,000.
        batch: real samples per iteration, from all classes.
        lr: learning rate of the outer Adam with betas (0.5, 0.999), halved after every tenth of these iterations.
        step_size: initial value of all step sizes; by default as published, 0.02 for MNIST and 0.001 for CIFAR-10.
        init: initial samples; Gaussian noise by default.
        network: by default `DigitNetwork`.
        fixed: use the same initial weights for all networks (fixed initialization) and store them with the samples;
            else new random ones (random initialization).
        pool: networks with other initial weights, such as `GivenWeights` that were trained elsewhere; replaces
            `network` and `fixed`.
        n_nets: networks per iteration, over which the loss is averaged.
        relabel: ((class, other), ...): real samples of `class` are labeled `other`: the label switching of section
            3.5, see `condensed_data.evaluation.label_switching`.
        unroll: "full", "checkpointed" or "constant", see `condensed_data.methods.objectives.unrolled`.
    """
    if pool is not None and (network is not None or fixed):
        raise ValueError("dd(pool=...) already defines the networks. Omit network= and fixed=.")
    check_count("dd", "n_nets", n_nets)
    if fixed and n_nets > 1:
        raise ValueError(f"dd(fixed=True, n_nets={n_nets}): a fixed initialization is a single network. Use n_nets=1.")
    blocks = ipc if steps is None else steps
    initial = pool or RandomInit(DigitNetwork() if network is None else network, period=None if fixed else 1)
    step_lr = Published("dd", "step_size") if step_size is None else step_size
    sampler = TrainingSteps(steps=blocks, epochs=epochs, batch=batch)
    pools = [initial, *(specs.set_field(initial, "member", member) for member in range(1, n_nets))]
    return Recipe(
        name="dd",
        synthetic=WithSteps(Pixels(init or coresets.Noise()), steps=blocks * epochs, lr=step_lr),
        terms=tuple(Term(Unrolled(unroll, relabel), one, sampler, Identity(), 1 / n_nets) for one in pools),
        optimizer=Optimizer("adam", lr=lr, betas=(0.5, 0.999), milestones=Tenths(batch)),
        iterations=PassesOverReal(batch=batch) if iterations is None else iterations,
        ipc=ipc,
        training=OrderedTraining(),
        paper="Wang, Zhu, Torralba and Efros, Dataset Distillation, 2018, arXiv:1811.10959",
        deviations="Every real batch is drawn from all samples, so a pass may repeat and omit some; no "
        "random crops and flips of real images; LeNet also replaces the paper's larger network for CIFAR-10.",
    )
