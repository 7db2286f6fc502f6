"""Methods that compare where training on the synthetic samples leads."""

from __future__ import annotations

from typing import Any

from condensed_data.core.spec import DataDefault
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import Trajectory
from condensed_data.methods.pools import DefaultNetwork, Experts
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.mtt_defaults import (
    EpochsAhead,
    PublishedMTT,
    PublishedWhitening,
    UsedEpochs,
)
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.methods.synthetic import Pixels, WithSteps
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig

__all__ = ["mtt"]

# Of soft labels, where they are learned: 2 to 10 in the settings of DATM (Guo et al., ICLR 2024).
LABEL_LR = 2.0


@register
def mtt(
    ipc: int = 10,
    iterations: int | None = None,
    steps: int | None = None,
    batch: int | None = None,
    unroll: str = "full",
    experts: int = 100,
    epochs: int | None = None,
    ahead: int | None = None,
    lr: float | None = None,
    init: coresets.Init | None = None,
    network: Any = None,
    whitening: str | None = None,
) -> Recipe:
    """Trajectory matching: a student's weights after steps on the synthetic samples against those of real training.

    Experts are trained on the real samples before the first iteration, and kept for other runs of the same seed. The
    step size is learned, and the result is trained on with it.

    Args:
        ipc: synthetic samples per class.
        iterations: matching steps; 5,000, and proportionally fewer for sources of less than 50,000 samples.
        steps: N, of the student; by default as published for such data and `ipc`, as are `epochs`, `ahead` and `lr`.
        batch: synthetic samples of a student's step; None for all of them.
        unroll: "full" (the paper's), "checkpointed" (the same in less memory) or "constant" (TESLA's, in the memory of
            one step; it drops terms, see `condensed_data.methods.objectives.unrolled`).
        experts: networks trained on the real samples.
        epochs: of an expert; only those that are used.
        ahead: M, epochs of the expert that the student's steps should make up for; at least as many as take N steps.
        lr: of the samples, by SGD with momentum 0.5.
        init: where the samples begin; random real ones.
        network: of experts and students; by default a ConvNet for images, its 1-D twin for signals, an MLP for vectors.
        whitening: "zca" or "none"; "zca" where the authors use it, for small color images of few samples per class.

    References:
        Cazenavette et al., Dataset Distillation by Matching Training Trajectories, CVPR 2022,
        https://arxiv.org/abs/2203.11932, algorithm 1; TESLA: Cui et al., ICML 2023,
        https://arxiv.org/abs/2211.10586.
    """
    further = EpochsAhead(steps, most=epochs) if ahead is None else ahead
    sgd = SGDConfig(0.01, augment=SiameseAugment(DefaultDSAOps(), per_sample=True))
    pool = Experts(
        network or DefaultNetwork(),
        Pretraining(UsedEpochs(further) if epochs is None else epochs, experts, sgd),
        further,
    )
    student = TrainingSteps(
        PublishedMTT("steps") if steps is None else steps, order="shuffled", batch=0, synthetic=batch
    )
    rates: tuple[tuple[str, float | DataDefault], ...] = (
        ("step_sizes", PublishedMTT("step_lr")),
        ("labels", LABEL_LR),
    )
    return Recipe(
        name="mtt",
        synthetic=WithSteps(Pixels(init or coresets.Random()), lr=PublishedMTT("step_size"), form="plain"),
        terms=(Term(Trajectory(unroll), pool, student, SiameseAugment(DefaultDSAOps())),),
        optimizer=Optimizer("sgd", lr=PublishedMTT("lr") if lr is None else lr, rates=rates),
        iterations=DefaultIterations(5_000) if iterations is None else iterations,
        ipc=ipc,
        whitening=PublishedWhitening() if whitening is None else whitening,
        paper="Cazenavette et al., Dataset Distillation by Matching Training Trajectories, CVPR 2022, arXiv:2203.11932",
        deviations="Experts are kept in half precision; ZCA follows standardized channels; settings between the "
        "published samples per class are interpolated, learning rates of gray images are ours.",
    )
