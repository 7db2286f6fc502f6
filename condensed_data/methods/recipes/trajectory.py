"""Methods that match training trajectories of networks: MTT."""

from __future__ import annotations

from condensed_data.core.annotations import Count, Natural
from condensed_data.core.spec import DataDefault
from condensed_data.core.validation import check_choice
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.methods import coresets
from condensed_data.methods.objectives import Trajectory
from condensed_data.methods.pools import DefaultNetwork, Experts
from condensed_data.methods.recipe import DefaultIterations, Optimizer, Recipe, Term
from condensed_data.methods.recipes.mtt_defaults import ITERATIONS, EpochsAhead, PublishedWhitening, UsedEpochs
from condensed_data.methods.recipes.published import Published
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
    settings: str = "mtt",
) -> Recipe:
    """MTT: the weights of students trained on the samples are matched with those of experts trained on real data.

    Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932, algorithm 1; TESLA: Cui et al., ICML 2023,
    https://arxiv.org/abs/2211.10586.

    Experts are trained before the first iteration and cached for other runs with the same seed. The step size of the
    student is learned, and becomes the learning rate of training on the result.

    Args:
        ipc, init, network: see `dm`.
        iterations: matching steps; by default the 5,000 of MTT or the 15,000 of HaBa and FreD, and proportionally fewer
            for sources of less than 50,000 samples.
        steps: training steps N of the student; by default as published for such data and `ipc`, as are `batch`,
            `epochs`, `ahead` and `lr`: see `condensed_data.methods.recipes.mtt_defaults`.
        batch: synthetic samples per step of the student; all of them, except where the authors use fewer.
        unroll: "full" (the paper's), "checkpointed" (equal, in less memory) or "constant" (TESLA's, in the memory of
            one step; drops terms, see `condensed_data.methods.objectives.unrolled`).
        experts: number of networks trained on the real samples.
        epochs: of an expert; by default only those that are used.
        ahead: epochs M of the expert that the student should match; by default at least as many as take N steps.
        lr: learning rate of the samples, for SGD with momentum 0.5.
        whitening: "zca" or "none"; by default as published, and "none" for large or grayscale images.
        settings: whose published settings are the defaults: "mtt", "haba" or "fred".
    """
    check_choice("mtt", "settings", settings, ITERATIONS)
    steps_taken = Published(settings, "steps") if steps is None else steps
    epochs_ahead = EpochsAhead(Published(settings, "ahead"), steps_taken, most=epochs) if ahead is None else ahead
    used = UsedEpochs(Published(settings, "starts"), epochs_ahead) if epochs is None else epochs
    augment = SiameseAugment(DefaultDSAOps(), per_sample=True)
    pool = Experts(
        DefaultNetwork() if network is None else network,
        Pretraining(used, experts, SGDConfig(0.01, augment=augment)),
        epochs_ahead,
    )
    rows = Published("mtt pixels", "batch") if batch is None else batch
    student = TrainingSteps(steps_taken, order="shuffled", batch=0, synthetic=rows)
    step_lr, step_size = Published(settings, "step_lr"), Published(settings, "step_size")
    return Recipe(
        name="mtt",
        synthetic=WithSteps(Pixels(init or coresets.Random()), lr=step_size, form="plain"),
        terms=(Term(Trajectory(unroll), pool, student, augment),),
        optimizer=Optimizer(
            "sgd",
            lr=Published("mtt pixels", "lr") if lr is None else lr,
            rates=(("step_sizes", step_lr), ("labels", LABEL_LR)),
        ),
        iterations=DefaultIterations(ITERATIONS[settings]) if iterations is None else iterations,
        ipc=ipc,
        training=protocols.mtt(),
        whitening=PublishedWhitening(Published(settings, "whitening")) if whitening is None else whitening,
        paper="Cazenavette et al., Dataset Distillation by Matching Training Trajectories, CVPR 2022, arXiv:2203.11932",
        deviations="Experts are stored in half precision; ZCA is applied after standardizing channels; a step size "
        "cannot become negative (with one, the authors' evaluation fails); the last samples are kept, not the best of "
        "many checkpoints on the test set. Settings for other numbers of samples per class are interpolated; learning "
        "rates of pixels for grayscale images and SVHN are ours.",
    )
