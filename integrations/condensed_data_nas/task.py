"""What all configurations of a search have in common: the samples to train and test on, and the training protocol.

Letters: N samples, M validation samples, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from condensed_data.core.spec import DatasetInfo
from condensed_data.dataset import CondensedDataset
from condensed_data.training.protocol import OrderedTraining, Training
from condensed_data.training.protocols import protocol


@dataclass(frozen=True, eq=False)
class ProxyTask:
    """Samples to train on and real ones to test on, standardized alike.

    Attributes:
        images: (N, *sample) float32; labels: (N,) int64 or (N, K) probabilities.
        val_images: (M, *sample); val_labels: (M,) int64.
        info: from which data-dependent defaults of a protocol follow.
    """

    images: Tensor
    labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    info: DatasetInfo

    @staticmethod
    def from_condensed(condensed: CondensedDataset, val: Any) -> ProxyTask:
        """The task of training on a condensed dataset and testing on real samples.

        Raises:
            SourceError: for validation samples of another shape, with other labels or in another value space.
            TypeError: if `condensed` is not a CondensedDataset, or `val` is one.
        """
        if not isinstance(condensed, CondensedDataset):
            raise TypeError(
                f"condensed={type(condensed).__name__} must be a CondensedDataset. To train on real samples, use "
                "ProxyObjective(condensed, ...).trained_on(train_set)."
            )
        if isinstance(val, CondensedDataset):
            raise TypeError(
                "val is a CondensedDataset, but architectures are tested on real samples. Give real samples that the "
                "condensed dataset was not made from."
            )
        space, metadata = condensed.metadata.space, condensed.metadata
        val_images, val_labels = condensed.standardized("val", val)
        named = metadata.classes != tuple(map(str, metadata.class_values))
        info = DatasetInfo(metadata.kind.shape, metadata.classes, metadata.ipc, named)
        labels = condensed.class_indices if metadata.label_kind == "scores" else condensed.labels
        return ProxyTask(space.standardize(condensed.images), labels, val_images, val_labels, info)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.info.classes)

    def to(self, device: torch.device) -> ProxyTask:
        """The same task on a device."""
        names = ("images", "labels", "val_images", "val_labels")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def search_training(own: Training | OrderedTraining, training: str | Training | None, epochs: int | None) -> Training:
    """The training protocol of a search, before data-dependent defaults are resolved.

    Args:
        own: that of the condensed dataset.
        training: another one, or its name.
        epochs: override those of the protocol; as there, one more is trained.

    Raises:
        ValueError: for an order-dependent condensed dataset if no other protocol is given.
    """
    chosen = own if training is None else protocol(training)
    if isinstance(chosen, OrderedTraining):
        raise ValueError(
            "This condensed dataset is order-dependent: it was condensed for one network and cannot rank others. "
            'Give training="quick" or a Training, or condense with another recipe.'
        )
    if epochs is None:
        return chosen
    name = chosen.name if epochs == chosen.epochs else f"{chosen.name}, {epochs} epochs"
    return replace(chosen, name=name, epochs=epochs, max_steps=None)
