"""Draws features of real and synthetic samples in the first two principal components of the real ones.

Letters: n samples, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensed_data import CondensedDataset
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.storage.cache import default_root
from condensed_data.training.context import Context
from condensed_data.training.features import FeatureExtractor, Trained
from condensed_data.training.pretrained_cache import PretrainedCache

MAX_REAL = 300  # real samples per class


def draw(source: Any, condensed: Mapping[str, CondensedDataset], extractor: Trained, classes: int, path: Path) -> None:
    """Draw one panel per condensed dataset of `source`, over the same real samples of the first classes."""
    from matplotlib.figure import Figure

    real = RealData.read(inspect(source), progress=False)
    networks = PretrainedCache(default_root() / "networks")
    context = Context(real, 1, RandomStreams(0), torch.device("cpu"), network_store=networks)
    extract = FeatureExtractor(extractor, context)
    shown = range(min(classes, real.num_classes))
    features = [extract(real.members[label][:MAX_REAL]) for label in shown]
    center, axes = principal(torch.cat(features))
    figure = Figure(figsize=(5.5 * len(condensed), 5), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(condensed), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (title, dataset) in zip(panels, condensed.items(), strict=True):
        embedded = extract.embed(real.space.standardize(dataset.images))
        for label in shown:
            background = (features[label] - center) @ axes
            stars = (embedded[dataset.class_indices == label] - center) @ axes
            name, color = real.class_names[label], f"C{label}"
            panel.scatter(*background.T, s=8, alpha=0.35, linewidths=0, color=color)
            panel.scatter(*stars.T, s=90, marker="*", linewidths=0.7, edgecolors="black", color=color, label=name)
        panel.set_title(title)
    panels[-1].legend(title="stars: synthetic", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def principal(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the two orthonormal directions (D, 2) of the largest variance of features (n, D)."""
    center = features.mean(0)
    _, _, directions = torch.linalg.svd(features - center, full_matrices=False)
    return center, directions[:2].T
