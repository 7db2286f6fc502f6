"""Condenses real samples into the ones that a memory keeps.

Letters: n real samples, K cells (a class of one task).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data.core import spec as specs
from condensed_data.core.device import choose_precision
from condensed_data.core.rng import preserve_rng_state
from condensed_data.data.source import inspect
from condensed_data.engine.job import CondensationJob
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import LowResolution


def condense(
    sources: Sequence[Tensor],
    counts: Sequence[int],
    recipe: Recipe,
    factor: int,
    seed: int,
    device: torch.device,
    precision: str = "auto",
) -> list[Tensor]:
    """Condense the samples of K cells together.

    Args:
        sources: for each cell, samples (n, *shape) float32, at full size if `compares_full_size(recipe)`, else as they
            are stored.
        counts: samples to keep of each cell, at least 1.
        recipe: from `memory_recipe` for this factor.

    Returns:
        For each cell, `counts[k]` samples as they are stored, float32 in the value space of `sources`.

    Raises:
        ValueError: for a single cell with a recipe that learns from labels; for a recipe that whitens samples that
            are stored smaller.
    """
    if len(sources) == 1 and reads_labels(recipe):
        raise ValueError(
            f"Recipe {recipe.name} compares classes with each other, but there is only one. Use a recipe "
            "that compares samples, such as 'dm', or experiences of at least two classes."
        )
    samples = torch.cat(list(sources))
    labels = torch.arange(len(sources)).repeat_interleave(torch.tensor([len(rows) for rows in sources]))
    recipe = replace(recipe, ipc=max(counts))
    shape = tuple(samples.shape[1:])
    # strategies may call this under no_grad
    with preserve_rng_state(), torch.enable_grad():
        source = inspect(TensorDataset(samples, labels))
        specs.validate(recipe, shape)
        _check_whitening(recipe, factor, shape, len(samples))
        job = CondensationJob(source, recipe, seed, device, choose_precision(precision, device), progress=False)
        result = job.run_uncached()
    rows = result.images
    if compares_full_size(recipe):
        assert result.stored is not None
        rows = result.metadata.space.restore(result.stored["images"])
    per_cell = [rows[result.labels == cell] for cell in range(len(sources))]
    return [_first(found, count, recipe) for found, count in zip(per_cell, counts, strict=True)]


def compares_full_size(recipe: Recipe) -> bool:
    """Whether a recipe enlarges stored samples to compare them with real ones at full size."""
    return isinstance(recipe.synthetic, LowResolution)


def reads_labels(recipe: Recipe) -> bool:
    """Whether a recipe compares classes with each other."""
    return any(term.objective.reads_labels for term in recipe.terms)


def _first(rows: Tensor, count: int, recipe: Recipe) -> Tensor:
    if len(rows) < count:
        raise ValueError(
            f"Recipe {recipe.name} made {len(rows)} samples of a class, but {count} are to be kept. Use a recipe that "
            "learns pixels."
        )
    return rows[:count]


def _check_whitening(recipe: Recipe, factor: int, shape: tuple[int, ...], samples: int) -> None:
    if factor > 1 and recipe.resolve(shape, (), samples=samples).whitening != "none":
        raise ValueError(
            f"Recipe {recipe.name} whitens samples, which cannot be stored smaller with factor={factor}. Use factor=1, "
            "or recipe.set(whitening='none')."
        )
