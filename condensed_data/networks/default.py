"""The default network for a kind of sample, and an early check that a network takes such samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.networks.registry import build, default_network
from condensed_data.networks.registry import network as named


@dataclass(frozen=True)
class DefaultNetwork(DataDefault):
    """ConvNet for images, ConvNet1d for signals, an MLP for vectors."""

    def __call__(self, info: DatasetInfo) -> Any:
        return default_network(info.sample_shape)


def check_network(network: Any, sample_shape: tuple[int, ...]) -> None:
    """Build the network for such samples and two classes, so that errors are raised before long work starts."""
    if isinstance(network, DataDefault):
        network = network(DatasetInfo(sample_shape, (), 1))
    build(named(network), 2, sample_shape, 0)
