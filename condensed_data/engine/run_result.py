"""Makes the result of a run: samples, labels, metadata, and the training steps of an order-dependent dataset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.data.value_space import SampleKind
from condensed_data.engine.callbacks.loggers import History
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.replay import TrainingSchedule
from condensed_data.methods.synthetic import Pixels
from condensed_data.methods.synthetic.decoding import decode_all
from condensed_data.methods.synthetic.soft_labels import Labeler
from condensed_data.storage.metadata import Metadata, environment, subsample_history
from condensed_data.storage.result import CondensationResult, with_soft_labels, with_storage_size
from condensed_data.training.protocol import OrderedTraining, Training


def run_result(
    run: CondensationRun,
    name: str,
    fingerprint: str | None,
    label: Labeler | None,
    history: History,
    iterations: int,
    seconds: float,
) -> CondensationResult:
    """The result of a run as it stands.

    `label` gives soft labels, `name` and `fingerprint` are those of the source (by default the hash of its content).
    """
    recipe, synthetic_data, real = run.recipe, run.synthetic_data, run.context.real
    metadata = Metadata(
        name=name,
        source_samples=len(real),
        fingerprint=real.fingerprint if fingerprint is None else fingerprint,
        kind=real.kind,
        space=real.space,
        whitening=specs.require_resolved(recipe.whitening),
        classes=real.class_names,
        source_classes=real.source_classes,
        class_values=tuple(real.class_values.tolist()),
        recipe=stored_form(recipe),
        recipe_name=recipe.name,
        ipc=recipe.ipc,
        seed=run.context.rng.seed,
        encoding=specs.to_json(recipe.synthetic.encoding),
        training=_training(run),
        iterations=iterations,
        seconds=seconds,
        history=subsample_history(list(zip(history.iterations, history.losses, strict=True))),
        environment=environment(run.context.device, run.context.precision),
    )
    samples, labels = decode_all(synthetic_data), synthetic_data.labels.cpu()
    stored = None if isinstance(recipe.synthetic.encoding, Pixels) else synthetic_data.tensors()
    schedule = training_schedule(run)
    images = real.space.restore(samples)
    if iterations == 0:
        images = _unrounded(images, real.kind)
    result = CondensationResult(images, labels, metadata, recipe, stored, schedule)
    if label is not None:
        result = with_soft_labels(result, label(samples))
    elif synthetic_data.label_kind != "index":
        learned = synthetic_data.targets(torch.arange(len(labels))).detach().cpu()
        result = with_soft_labels(result, learned, synthetic_data.label_kind)
    return with_storage_size(result, synthetic_data.stored_floats)


def _unrounded(images: Tensor, kind: SampleKind) -> Tensor:
    """Selected samples as the source yields them: standardizing and restoring changes last bits.

    What the source's dtype cannot hold, such as means of samples, stays as it is.
    """
    exact = kind.from_dtype(kind.to_dtype(images))
    return exact if torch.allclose(exact, images, rtol=1e-5, atol=1e-5 * float(images.abs().max())) else images


def stored_form(recipe: Recipe) -> dict[str, Any] | None:
    """The recipe as JSON, or None if it contains a function that cannot be stored."""
    try:
        return recipe.to_json()
    except specs.UnnamedCallableError:
        return None


def _training(run: CondensationRun) -> Training | OrderedTraining:
    """How to train on the result: at the learned step size, if all steps share one."""
    training, sizes = run.recipe.training, run.synthetic_data.step_sizes
    if sizes is None or len(sizes) > 1 or not isinstance(training, Training):
        return training
    return replace(training, name=f"{training.name}, learned rate", lr=float(sizes.detach()[0]))


def training_schedule(run: CondensationRun) -> TrainingSchedule | None:
    """The training run that `run` differentiates, as it stands; None if samples do not depend on their order.

    Raises:
        ValueError: for a recipe whose steps are not the same in every iteration, or have no step sizes.
    """
    if not isinstance(run.recipe.training, OrderedTraining):
        return None
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
        "order='stored') and WithSteps(...) in every term, or another training, such as protocols.dsa()."
    )
