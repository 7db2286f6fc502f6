"""What a person sees of a `CondensedDataset`: a few lines, a grid of its samples, both in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from condensed_data.plotting import grid as plots

if TYPE_CHECKING:
    from PIL.Image import Image

    from condensed_data.dataset import CondensedDataset


def summary(condensed: CondensedDataset) -> str:
    """Sizes, how it was made, and the last measured accuracies."""
    metadata = condensed.metadata
    shape = "x".join(map(str, metadata.kind.shape))
    before = "" if metadata.source_samples is None else f"{metadata.source_samples:,} -> "
    lines = [
        f"CondensedDataset: {metadata.name}, {before}{len(condensed):,} samples "
        f"({metadata.ipc} per class, {len(condensed.classes)} classes)",
        f"  recipe {metadata.recipe_name}, {metadata.iterations:,} iterations, seed {metadata.seed}",
        f"  samples {shape} {metadata.kind.name}, stored as {condensed.stored_floats:,} numbers",
    ]
    lines += [f"  {evaluation}" for evaluation in metadata.evaluations[-3:]]
    return "\n".join(lines)


def grid(condensed: CondensedDataset, path: str | Path | None = None) -> Image:
    """A labeled grid of the samples; written to `path` where one is given."""
    labels = condensed.class_indices.tolist()
    image = plots.grid(condensed.images, labels, condensed.classes, value_range=_value_range(condensed))
    if path is not None:
        plots.save(image, path)
    return image


def html(condensed: CondensedDataset) -> str:
    """HTML for a notebook: the summary over a grid."""
    labels, text = condensed.class_indices.tolist(), repr(condensed)
    return plots.to_html(
        condensed.images, labels, condensed.classes, text, value_range=_value_range(condensed)
    )


def _value_range(condensed: CondensedDataset) -> tuple[float, float] | None:
    kind = condensed.metadata.kind
    return (0.0, kind.max_value) if kind.eight_bit else None
