"""How a condensed dataset is shown: a text summary, a grid of its samples, and both in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from condensed_data.core.sizes import format_bytes
from condensed_data.core.text import visible_name
from condensed_data.plotting import grid as plots
from condensed_data.storage.interfaces import CondensedSamples

if TYPE_CHECKING:
    from PIL.Image import Image


def summary(condensed: CondensedSamples) -> str:
    """Sizes, recipe and the last measured accuracies."""
    metadata = condensed.metadata
    shape = "x".join(map(str, metadata.kind.shape))
    before = "" if metadata.source_samples is None else f"{metadata.source_samples:,} -> "
    stored_floats = metadata.stored_floats or condensed.images.numel()
    lines = [
        f"CondensedDataset: {visible_name(metadata.name)}, {before}{len(condensed.labels):,} samples "
        f"({metadata.ipc} per class, {len(metadata.classes)} classes)",
        f"  recipe {visible_name(metadata.recipe_name)}, {metadata.iterations:,} iterations, seed {metadata.seed}",
        f"  samples {shape} {metadata.kind.name}, stored as {stored_floats:,} numbers "
        f"in {format_bytes(condensed.stored_bytes)}",
    ]
    lines += [f"  {visible_name(str(evaluation))}" for evaluation in metadata.evaluations[-3:]]
    return "\n".join(lines)


def grid(condensed: CondensedSamples, path: str | Path | None = None) -> Image:
    """A labeled grid of the samples, also written to `path` if given."""
    image = plots.grid(*_labeled(condensed), value_range=condensed.metadata.kind.value_range)
    if path is not None:
        plots.save(image, path)
    return image


def html(condensed: CondensedSamples) -> str:
    """HTML for a notebook: the summary above a grid."""
    return plots.to_html(*_labeled(condensed), summary(condensed), value_range=condensed.metadata.kind.value_range)


def _labeled(condensed: CondensedSamples) -> tuple[Tensor, list[int], tuple[str, ...]]:
    return condensed.images, condensed.class_indices.tolist(), condensed.metadata.classes
