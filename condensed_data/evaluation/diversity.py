"""Measures how far apart the samples of a class lie, which methods that condense by clusters (BDM) claim to improve.

Letters: N samples, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.annotations import Count, Natural, checked
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.errors import shortened_list
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.spec import DatasetInfo
from condensed_data.core.torch_settings import own_settings
from condensed_data.data.real import RealData
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect
from condensed_data.engine.evaluate import check_value_space
from condensed_data.methods.coresets import Random
from condensed_data.storage.cache import default_root
from condensed_data.storage.interfaces import CondensedSamples
from condensed_data.training.context import Context
from condensed_data.training.features import FeatureExtractor, extractor
from condensed_data.training.pretrained_cache import PretrainedCache

MAX_CHECKED = 1_000  # samples of the source whose value space is compared, at most


@dataclass(frozen=True)
class DiversityReport:
    """Mean distance between two samples of a class.

    Attributes:
        condensed: of the condensed samples.
        real: of as many random real samples of every class, the mean over `subsets` draws.
        features: name of the features in which distances are measured.
        subsets: number of draws.
    """

    condensed: float
    real: float
    features: str
    subsets: int

    @property
    def ratio(self) -> float:
        """1 if condensed samples lie as far apart as real ones."""
        return self.condensed / self.real

    def __str__(self) -> str:
        return (
            f"diversity {self.ratio:.2f} of real samples: mean distance within a class {self.condensed:.4g}, of random "
            f"real samples {self.real:.4g} (features: {self.features})"
        )


@own_settings()
def within_class_distance(features: Tensor, labels: Tensor) -> float:
    """Euclidean distance between two samples of one class: the mean over the pairs of a class, then over classes.

    Args:
        features: (N, D).
        labels: (N,) class indices; classes with one sample have no pairs and are ignored.

    Raises:
        ValueError: if no class has two samples.
    """
    means = []
    for label in labels.unique():
        rows = features[labels == label].double()
        if len(rows) > 1:
            means.append(torch.pdist(rows).mean())
    if not means:
        raise ValueError("diversity needs at least two samples in a class, but every class has one. Use ipc=2 or more.")
    return float(torch.stack(means).mean())


@own_settings()
@checked
def diversity(
    condensed: CondensedSamples,
    source: Any,
    features: Any = "raw",
    *,
    subsets: Count = 5,
    seed: Natural = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    num_workers: Natural = 0,
    progress: bool = True,
) -> DiversityReport:
    """Compare the distances between condensed samples of a class with those between as many random real ones.

    Args:
        condensed: a `CondensedDataset` or `CondensationResult` with at least two samples in a class.
        source: the real samples that it was made from.
        features: "raw", "trained" (the embedding of a network trained on `source`, cached with the other trained
            networks), "imagenet", an extractor or any module. Use the same ones for all datasets that you compare.
        subsets: draws of random real samples.
        seed: of the draws and of the trained network.
        device, precision, num_workers, progress: see `CondensedDataset`.

    Raises:
        ValueError: for unknown features, or if every class has one sample.
        SourceError: for a source of samples of another shape or value space, or with other labels.
    """
    chosen = extractor(features)
    with preserve_rng_state():
        checked, metadata = inspect(source, num_workers), condensed.metadata
        specs.validate(chosen, checked.kind.shape)
        if checked.kind.shape != metadata.kind.shape:
            raise SourceError(
                f"source has samples of shape {checked.kind.shape}, but the condensed samples have shape "
                f"{metadata.kind.shape}. Give the source that they were condensed from."
            )
        within_class_distance(torch.zeros(len(condensed.labels), 1), condensed.class_indices)
        real = RealData.read(checked, None, progress)
        counts = condensed.class_indices.bincount().tolist()
        if len(counts) != real.num_classes:
            raise SourceError(
                f"source has {real.num_classes} classes, but the condensed samples have {len(counts)}. Give the source "
                "that they were condensed from."
            )
        if real.class_values.tolist() != list(metadata.class_values):
            raise SourceError(
                f"source has the labels {_listed(real.class_values.tolist())}, but the condensed samples have "
                f"{_listed(metadata.class_values)}. Give the source that they were condensed from."
            )
        some = torch.linspace(0, len(real) - 1, min(len(real), MAX_CHECKED)).long()
        check_value_space(metadata, "source", real.space.restore(real[some]))
        torch_device = choose_device(device)
        context = Context(
            real,
            metadata.ipc,
            RandomStreams(seed),
            torch_device,
            choose_precision(precision, torch_device),
            network_store=PretrainedCache(default_root() / "networks"),
        )
        info = DatasetInfo(real.sample_shape, real.class_names, 1, real.named, len(real))
        embed = FeatureExtractor(specs.resolve(chosen, info), context).embed
        embedded = embed(real.space.standardize(condensed.images))
        distance = within_class_distance(embedded, condensed.class_indices)
        draws = (_random_distance(context, embed, counts, number) for number in range(subsets))
        real_distance = sum(draws) / subsets
    name = features if isinstance(features, str) else type(features).__name__
    return DiversityReport(distance, real_distance, name, subsets)


def _random_distance(context: Context, embed: Callable[[Tensor], Tensor], counts: list[int], number: int) -> float:
    """The distance within random real samples, `counts` of each class."""
    rng = RandomStreams(context.rng.seed_for("diversity", number))
    rows = Random(spread=0).samples(replace(context, rng=rng), counts)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return within_class_distance(embed(rows), labels)


def _listed(values: Sequence[int]) -> str:
    return shortened_list([str(value) for value in values], 5)
