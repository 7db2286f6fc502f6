"""The labels in the files of authors: class indices, one-hot rows, probabilities or logits; asked where unclear.

Letters: N samples, K classes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from condensed_data.core.errors import ArtifactError

KINDS = ("index", "probs", "logits")


def read(labels: Tensor, kind: str | None, path: Path) -> tuple[Tensor, Tensor | None]:
    """Class indices (N,) and, for soft labels, probabilities (N, K) float32, else None.

    Args:
        labels: as stored.
        kind: what rows (N, K) are: "probs", "logits" (converted by softmax) or "index" (the class is their largest
            value); None accepts one-hot rows and probabilities only.
        path: for messages.

    Raises:
        ValueError: for an unknown kind, or rows that are not of this kind.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"label_kind={kind!r} must be one of: {', '.join(KINDS)}, or None.")
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dim() != 2:
        if kind not in (None, "index"):
            raise ValueError(f"label_kind={kind!r} needs rows (N, K), but {path} has labels {tuple(labels.shape)}.")
        return labels if labels.is_floating_point() else labels.long(), None
    if not bool(labels.isfinite().all()):
        raise ArtifactError(f"{path} has labels with NaN or infinite values.")
    rows = labels.float()
    positive = bool((rows >= 0).all())
    distributions = positive and bool(((rows.sum(1) - 1).abs() < 1e-3).all())
    if kind == "index" or (distributions and kind is None and not labels.is_floating_point()):
        return rows.argmax(1), None
    if distributions and kind in (None, "probs"):
        return rows.argmax(1), rows
    if kind == "logits" and not distributions:
        return rows.argmax(1), torch.softmax(rows, 1)
    if kind == "logits":
        raise ValueError(f"label_kind='logits' is given, but the labels in {path} are probabilities. Omit label_kind=.")
    low, high, total = float(rows.min()), float(rows.max()), float(rows.sum(1).mean())
    raise ValueError(
        f"{path} has labels {tuple(labels.shape)} from {low:.3g} to {high:.3g}, whose rows sum to {total:.3g} on "
        "average: they are not probabilities. Give label_kind='logits' to convert them by softmax, or "
        "label_kind='index' to take the largest value of each row as the class."
    )
