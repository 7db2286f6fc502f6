"""How different the samples of a class are: the claim of methods that condense by clusters (BDM).

Letters: N samples, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.spec import DatasetInfo
from condensed_data.data.real import RealData
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect
from condensed_data.methods.coresets import Random
from condensed_data.storage.cache import default_root
from condensed_data.training.context import Context
from condensed_data.training.features import FeatureExtractor, extractor
from condensed_data.training.pretrained_cache import PretrainedCache

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset


@dataclass(frozen=True)
class Diversity:
    """Mean distance between two samples of a class, in the features named.

    Attributes:
        condensed: of the condensed samples.
        real: of as many random real samples of every class, the mean over `subsets` draws.
        features: what the distance is taken in.
    """

    condensed: float
    real: float
    features: str
    subsets: int

    @property
    def ratio(self) -> float:
        """1 where condensed samples lie as far apart as real ones."""
        return self.condensed / self.real

    def __str__(self) -> str:
        return (
            f"diversity {self.ratio:.2f} of real samples: mean distance within a class {self.condensed:.4g}, of random "
            f"real samples {self.real:.4g} (features: {self.features})"
        )


def within_class_distance(features: Tensor, labels: Tensor) -> float:
    """Euclidean distance between two samples of one class: its mean over the pairs of a class, then over classes.

    Args:
        features: (N, D).
        labels: (N,) class indices; classes of one sample have no pairs and do not count.

    Raises:
        ValueError: if no class has two samples.
    """
    found = []
    for label in labels.unique():
        rows = features[labels == label].double()
        if len(rows) > 1:
            found.append(torch.pdist(rows).mean())
    if not found:
        raise ValueError(
            "Diversity needs two samples of a class, and every class has one. Use ipc=2 or more."
        )
    return float(torch.stack(found).mean())


def diversity(
    condensed: CondensedDataset,
    source: Any,
    features: Any = "raw",
    *,
    subsets: int = 5,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    num_workers: int = 0,
    progress: bool = True,
) -> Diversity:
    """How far apart the samples of a class lie, beside as many random real ones.

    Args:
        condensed: with at least two samples in a class.
        source: the real samples that it was made of.
        features: "raw", "trained" (the embedding of a network trained on `source`, kept with the other trained
            networks), "imagenet", an extractor or any module. The same for every set that is compared.
        subsets: draws of random real samples.
        seed: of the draws and of the trained network.

    Raises:
        ValueError: for unknown features, or where every class has one sample.
        SourceError: for a source of other samples or with another number of classes.
    """
    chosen = extractor(features)
    with preserve_rng_state():
        read = inspect(source)
        specs.validate(chosen, read.kind.shape)
        if read.kind.shape != condensed.metadata.kind.shape:
            raise SourceError(
                f"source has samples of shape {read.kind.shape}, this set {condensed.metadata.kind.shape}. Give the "
                "source that it was condensed from."
            )
        within_class_distance(torch.zeros(len(condensed), 1), condensed.class_indices)
        real = RealData.read(read, None, num_workers, progress)
        counts = condensed.class_indices.bincount().tolist()
        if len(counts) != real.num_classes:
            raise SourceError(
                f"source has {real.num_classes} classes, this set {len(counts)}. Give the source that it was "
                "condensed from."
            )
        where = choose_device(device)
        context = Context(
            real,
            condensed.metadata.ipc,
            RandomStreams(seed),
            where,
            choose_precision(precision, where),
            network_store=PretrainedCache(default_root() / "networks"),
        )
        facts = DatasetInfo(real.sample_shape, real.class_names, 1, real.named, len(real))
        look = FeatureExtractor(specs.resolve(chosen, facts), context).embed
        ours = within_class_distance(look(real.space.standardize(condensed.images)), condensed.class_indices)
        draws = (_random(context, look, counts, number) for number in range(subsets))
        theirs = sum(draws) / subsets
    return Diversity(ours, theirs, _name(features), subsets)


def _random(context: Context, look: Any, counts: list[int], number: int) -> float:
    """The distance within random real samples, `counts` of every class."""
    rng = RandomStreams(context.rng.seed_for("diversity", number))
    drawn = Context(context.real, context.ipc, rng, context.device, context.precision)
    rows = Random(spread=0).samples(drawn, counts)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return within_class_distance(look(rows), labels)


def _name(features: Any) -> str:
    return features if isinstance(features, str) else type(features).__name__
