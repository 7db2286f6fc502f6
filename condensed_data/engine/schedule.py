"""The training run that belongs to a dataset whose samples depend on their order."""

from __future__ import annotations

import torch

from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.replay import TrainingSchedule


def training_schedule(run: CondensationRun) -> TrainingSchedule:
    """The training run that `run` differentiates, as it stands.

    Raises:
        ValueError: for a recipe whose steps are not the same in every iteration, or have no step sizes.
    """
    if not run.recipe.terms:
        raise _not_ordered("has no terms")
    term, groups = run.recipe.terms[0], list(range(run.context.real.num_groups))
    first, second = (run.sampler_states[term.sampler].draw(iteration, groups) for iteration in (0, 1))
    if first.steps is None or not torch.equal(first.synthetic, second.synthetic):
        raise _not_ordered(f"draws its samples with {term.sampler}")
    sizes = run.synthetic_data.step_sizes
    if sizes is None:
        raise _not_ordered("has no step sizes")
    network = getattr(term.pool, "network", None)
    steps = sizes.detach().float().cpu().expand(len(first.synthetic_sizes)).clone()
    initial = run.pool_states[term.pool].initial_state()
    return TrainingSchedule(first.synthetic.cpu(), first.synthetic_sizes, steps, network, initial)


def _not_ordered(why: str) -> ValueError:
    return ValueError(
        f"Cannot use training=OrderedTraining() with this recipe: it {why}. Use TrainingSteps(steps=..., "
        "order='stored') and WithSteps(...) in every term, or training=standard()."
    )
