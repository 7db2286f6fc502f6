"""One code of each class through every decoder: what is shared by classes, and what decoders differ in.

Letters: K classes, M decoders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from condensed_data.core import spec
from condensed_data.methods.synthetic import Factorized
from condensed_data.plotting import grid as plots

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset


def decoders(condensed: CondensedDataset, *, max_classes: int = 20) -> Image.Image:
    """A row a class: its first code, where that has the shape of a sample, then what each decoder makes of it.

    Args:
        condensed: a set whose samples are decoded from codes, such as those of `haba` and `kfs`.
        max_classes: rows at most.

    Raises:
        ValueError: for a set without decoders.
    """
    stored, factorized = condensed.stored, _factorized(spec.from_json(dict(condensed.metadata.encoding)))
    if stored is None or factorized is None:
        raise ValueError(
            f"Cannot draw the decoders of a set by {condensed.metadata.recipe_name}: its samples are not decoded from "
            "codes. Those of haba and kfs are."
        )
    space, shape = condensed.metadata.space, condensed.metadata.kind.shape
    made = len(stored["codes"]) * len(stored["decoders"])
    labels = condensed.class_indices[
        :: len(condensed.class_indices) // made
    ]  # more samples where each is cut into several
    synthetic_data = factorized.restore(stored, labels, shape)
    owners = synthetic_data.labels[:: synthetic_data.decoders_per_code]
    images, rows = [], []
    for label in range(len(condensed.classes)):
        code = int((owners == label).nonzero()[0])
        first = code * synthetic_data.decoders_per_code
        with torch.no_grad():
            row = [synthetic_data.decode(torch.arange(first, first + synthetic_data.decoders_per_code))]
        if stored["codes"].shape[1:] == shape:
            row.insert(0, stored["codes"][code : code + 1].float())
        images.append(space.restore(torch.cat(row)))
        rows += [label] * len(images[-1])
    before = "its basis, then " if stored["codes"].shape[1:] == shape else ""
    return plots.grid(
        torch.cat(images),
        rows,
        condensed.classes,
        per_class=None,
        max_classes=max_classes,
        title=f"First code of each class: {before}what {synthetic_data.decoders_per_code} decoders make of it",
        value_range=(0.0, condensed.metadata.kind.max_value) if condensed.metadata.kind.eight_bit else None,
    )


def _factorized(part: Any) -> Factorized | None:
    """The part with codes and decoders inside others."""
    if isinstance(part, Factorized):
        return part
    inner = getattr(part, "inner", None)
    return None if inner is None else _factorized(inner)
