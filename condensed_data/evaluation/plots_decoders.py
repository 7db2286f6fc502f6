"""Draws one code of each class through every decoder: what the decoders have in common, and how they differ.

Letters: K classes, M decoders.
"""

from __future__ import annotations

import torch
from PIL import Image

from condensed_data.core import spec
from condensed_data.core.annotations import Count, checked
from condensed_data.core.torch_settings import own_settings
from condensed_data.methods.synthetic import Factorized
from condensed_data.plotting import grid as plots
from condensed_data.storage.interfaces import CondensedSamples


@own_settings()
@checked
def decoders(condensed: CondensedSamples, *, max_classes: Count = 20) -> Image.Image:
    """One row per class: its first code, if that has the shape of a sample, then the output of each decoder.

    Args:
        condensed: a `CondensedDataset` or `CondensationResult` with samples decoded from codes, such as one by
            `haba` or `kfs`.
        max_classes: maximum number of rows.

    Raises:
        ValueError: for samples without decoders.
    """
    stored, factorized = condensed.stored, spec.from_json(dict(condensed.metadata.encoding))
    while hasattr(factorized, "inner"):
        factorized = factorized.inner
    if stored is None or not isinstance(factorized, Factorized):
        raise ValueError(
            f"Cannot draw the decoders of recipe {condensed.metadata.recipe_name}: its samples are not decoded from "
            "codes. Use a dataset condensed by haba or kfs."
        )
    metadata = condensed.metadata
    space, shape, classes = metadata.space, metadata.kind.shape, metadata.classes
    decoded = len(stored["codes"]) * len(stored["decoders"])
    # multi-formation cuts each decoded sample into several
    labels = condensed.class_indices[:: len(condensed.class_indices) // decoded]
    synthetic_data = factorized.restore(stored, labels, shape)
    count = synthetic_data.decoders_per_code
    owners = synthetic_data.labels[::count]
    images, rows = [], []
    for label in range(len(classes)):
        code = int((owners == label).nonzero()[0])
        first = code * count
        with torch.no_grad():
            row = [synthetic_data.decode(torch.arange(first, first + count))]
        if stored["codes"].shape[1:] == shape:
            row.insert(0, stored["codes"][code : code + 1].float())
        images.append(space.restore(torch.cat(row)))
        rows += [label] * len(images[-1])
    before = "its basis, then " if stored["codes"].shape[1:] == shape else ""
    return plots.grid(
        torch.cat(images),
        rows,
        classes,
        per_class=None,
        max_classes=max_classes,
        title=f"First code of each class: {before}the outputs of {count} decoders",
        value_range=metadata.kind.value_range,
    )
