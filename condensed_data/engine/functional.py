"""Condenses plain tensors: samples and labels in, synthetic samples and labels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data.core import spec as specs
from condensed_data.core.annotations import Natural, checked
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.errors import short_repr
from condensed_data.core.rng import preserve_rng_state
from condensed_data.core.torch_settings import own_settings
from condensed_data.data.axes import state_axes
from condensed_data.data.groups import Groups
from condensed_data.data.source import inspect
from condensed_data.engine.job import CondensationJob
from condensed_data.methods.recipe import Recipe
from condensed_data.training.protocol import OrderedTraining


@own_settings()
@checked
def condense_tensors(
    samples: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    groups: Any = None,
    classes: Sequence[str] | None = None,
    sample_axes: str | None = None,
    seed: Natural = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Condense tensors, without a fingerprint, a cache or progress bars: for replay memories and proxies.

    Args:
        samples: (n, *sample) float or uint8.
        labels: (n,) non-negative integers.
        recipe: how to condense them, `ipc` included.
        groups: see `CondensedDataset`.
        classes: class names by label.
        sample_axes: "CL" or "CHW", if samples could be mistaken for images with other axes, see `data.axes`.
        seed, device, precision: see `CondensedDataset`.

    Returns:
        Synthetic samples (N, *sample) float32 in the value space of `samples`, and their labels (N,) int64 in the
        values of `labels`, or if they are soft, (N, K) float32 probabilities or scores of these values in increasing
        order.

    Raises:
        SourceError: for samples or labels that cannot be condensed.
        ValueError: for a recipe whose samples depend on their order, which does not fit in two tensors; for tensors
            without values (meta), sparse tensors, or another number of labels than of samples.
        DivergedError: when the loss diverges.
    """
    if isinstance(recipe.training, OrderedTraining):
        raise ValueError(
            f"Recipe {recipe.name} makes samples for one training run; its order, step sizes and initial weights do "
            "not fit in two tensors. Use CondensedDataset."
        )
    _check_tensors(samples, labels)
    torch_device = choose_device(device)
    names = None if classes is None else tuple(classes)
    if names is not None and len(labels) and len(names) <= int(labels.max()):
        raise ValueError(
            f"condense_tensors(classes={short_repr(list(names))}) has {len(names)} names, but labels go up to "
            f"{int(labels.max())}. Give a name for every label from 0."
        )
    with preserve_rng_state():
        dataset = state_axes(TensorDataset(samples, labels), sample_axes)
        source = replace(inspect(dataset), class_names=names)
        specs.validate(recipe, source.kind.shape)
        job = CondensationJob(
            source,
            recipe,
            seed,
            torch_device,
            choose_precision(precision, torch_device),
            groups=None if groups is None else Groups(groups, source),
            progress=False,
            warns=False,
        )
        result = job.run_uncached()
    if result.labels.ndim == 2:
        return result.images, result.labels
    return result.images, torch.tensor(result.metadata.class_values)[result.labels]


def _check_tensors(samples: Tensor, labels: Tensor) -> None:
    for name, tensor in (("samples", samples), ("labels", labels)):
        if tensor.is_meta or tensor.layout != torch.strided or tensor.dim() == 0:
            raise ValueError(f"condense_tensors({name}=...) must be a dense tensor with values. Give such a tensor.")
    if len(samples) != len(labels):
        raise ValueError(
            f"condense_tensors() was given {len(samples)} samples and {len(labels)} labels. Give one label per sample."
        )
