"""Methods that match training trajectories of networks: MTT."""

from __future__ import annotations

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import Trajectory
from condensed_data.methods.pools import DefaultNetwork, Experts
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.mtt_defaults import EpochsAhead, PublishedMTT, PublishedWhitening, UsedEpochs
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.methods.synthetic import Pixels, WithSteps
from condensed_data.networks import NetworkLike
from condensed_data.training import protocols
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig

__all__ = ["mtt"]

LABEL_LR = 2.0  # of learned soft labels: 2 to 10 in the settings of DATM (Guo et al., ICLR 2024)


@register
def mtt(
    ipc: Count = 10,
    iterations: Natural | None = None,
    steps: int | None = None,
    batch: int | None = None,
    unroll: str = "full",
    experts: int = 100,
    epochs: int | None = None,
    ahead: int | None = None,
    lr: float | None = None,
    init: coresets.Init | None = None,
    network: NetworkLike | DataDefault | None = None,
    whitening: str | None = None,
) -> Recipe:
    """MTT: the weights of students trained on the samples are matched with those of experts trained on real data.

    Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932, algorithm 1; TESLA: Cui et al., ICML 2023,
    https://arxiv.org/abs/2211.10586.

    Experts are trained before the first iteration and cached for other runs with the same seed. The step size of the
    student is learned, and becomes the learning rate of training on the result.

    Args:
        ipc, init, network: see `dm`.
        iterations: matching steps; 5,000, and proportionally fewer for sources of less than 50,000 samples.
        steps: training steps N of the student; by default as published for such data and `ipc`, as are `epochs`,
            `ahead` and `lr`.
        batch: synthetic samples per step of the student; None for all of them.
        unroll: "full" (the paper's), "checkpointed" (equal, in less memory) or "constant" (TESLA's, in the memory of
            one step; drops terms, see `condensed_data.methods.objectives.unrolled`).
        experts: number of networks trained on the real samples.
        epochs: of an expert; by default only those that are used.
        ahead: epochs M of the expert that the student should match; by default at least as many as take N steps.
        lr: learning rate of the samples, for SGD with momentum 0.5.
        whitening: "zca" or "none"; by default as the authors: "zca" for small color images, few samples per class.
    """
    epochs_ahead = EpochsAhead(steps, most=epochs) if ahead is None else ahead
    sgd = SGDConfig(0.01, augment=SiameseAugment(DefaultDSAOps(), per_sample=True))
    pretrain = Pretraining(UsedEpochs(epochs_ahead) if epochs is None else epochs, experts, sgd)
    pool = Experts(DefaultNetwork() if network is None else network, pretrain, epochs_ahead)
    steps_taken = PublishedMTT("steps") if steps is None else steps
    student = TrainingSteps(steps_taken, order="shuffled", batch=0, synthetic=batch)
    rates = (("step_sizes", PublishedMTT("step_lr")), ("labels", LABEL_LR))
    return Recipe(
        name="mtt",
        synthetic=WithSteps(Pixels(init or coresets.Random()), lr=PublishedMTT("step_size"), form="plain"),
        terms=(Term(Trajectory(unroll), pool, student, SiameseAugment(DefaultDSAOps())),),
        optimizer=Optimizer("sgd", lr=PublishedMTT("lr") if lr is None else lr, rates=rates),
        iterations=DefaultIterations(5_000) if iterations is None else iterations,
        ipc=ipc,
        training=protocols.mtt(),
        whitening=PublishedWhitening() if whitening is None else whitening,
        paper="Cazenavette et al., Dataset Distillation by Matching Training Trajectories, CVPR 2022, arXiv:2203.11932",
        deviations="Experts are stored in half precision; ZCA is applied after standardizing channels; settings for "
        "other numbers of samples per class are interpolated; learning rates for grayscale images are ours.",
    )
