"""What every configuration of a search shares: samples on the device, how long to train, how to judge.

Letters: N samples, M validation samples, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.spec import DatasetInfo
from condensed_data.dataset import CondensedDataset
from condensed_data.training.evaluate import protocol
from condensed_data.training.protocol import OrderedTraining, Training


@dataclass(frozen=True, eq=False)
class ProxyTask:
    """Samples to train on and real ones to judge by, standardized alike.

    Attributes:
        images: (N, *sample) float32; labels: (N,) int64 or (N, K) probabilities.
        val_images: (M, *sample); val_labels: (M,) int64.
        facts: what rules of a protocol look at.
    """

    images: Tensor
    labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    facts: DatasetInfo

    @staticmethod
    def of(condensed: CondensedDataset, val: Any) -> ProxyTask:
        """The task of a condensed set, judged by real samples.

        Raises:
            SourceError: for validation samples of another shape, with other labels or in another value space.
            TypeError: for anything but a condensed set, or a condensed set to judge by.
        """
        if not isinstance(condensed, CondensedDataset):
            raise TypeError(
                f"condensed={type(condensed).__name__} must be a CondensedDataset. For networks trained on real "
                "samples: ProxyObjective(condensed, ...).on(train_set)."
            )
        if isinstance(val, CondensedDataset):
            raise TypeError(
                "val=CondensedDataset: architectures are judged by real samples. Give those of a source that the "
                "set was not made of."
            )
        space, metadata = condensed.metadata.space, condensed.metadata
        val_images, val_labels = condensed.standardized("val", val)
        named = metadata.classes != tuple(map(str, metadata.class_values))
        facts = DatasetInfo(metadata.kind.shape, metadata.classes, metadata.ipc, named)
        return ProxyTask(space.standardize(condensed.images), condensed.labels, val_images, val_labels, facts)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.facts.classes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.facts.sample_shape

    def to(self, device: torch.device) -> ProxyTask:
        """The same on a device."""
        names = ("images", "labels", "val_images", "val_labels")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def training_for(
    own: Training | OrderedTraining, training: str | Training | None, epochs: int | None
) -> Training:
    """The protocol of a search, not yet resolved.

    Args:
        own: that of the condensed set.
        training: another one, or its name.
        epochs: instead of the protocol's; as there, one more is trained.

    Raises:
        ValueError: for a set that is trained on by its own steps, without another protocol.
    """
    chosen = own if training is None else protocol(training)
    if isinstance(chosen, OrderedTraining):
        raise ValueError(
            "This set was learned for one network and its own training steps, which rank no other networks. Give "
            'training="quick" or a Training, or condense with another recipe.'
        )
    if epochs is None:
        return chosen
    name = chosen.name if epochs == chosen.epochs else f"{chosen.name}, {epochs} epochs"
    return replace(chosen, name=name, epochs=epochs, max_steps=None)


def resolved(training: Training, task: ProxyTask) -> Training:
    """The protocol with what depends on the data made concrete."""
    return specs.resolve(training, task.facts)


def reports(last: int, every: int | None) -> frozenset[int]:
    """Epochs after which the first network is tested: every `every`, by default ten times, and the last."""
    step = every or max(1, math.ceil(last / 10))
    return frozenset({*range(step, last, step), last})
