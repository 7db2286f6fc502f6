"""The network that fits a kind of sample, and an early check of what a network can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.networks.registry import build, default_network
from condensed_data.networks.registry import network as named


@dataclass(frozen=True)
class DefaultNetwork(DataDefault):
    """ConvNet for images, its 1-D twin for signals, an MLP for vectors."""

    def __call__(self, facts: DatasetInfo) -> Any:
        return default_network(facts.sample_shape)


def check_network(network: Any, sample_shape: tuple[int, ...]) -> None:
    """Build the network once for such samples and two classes, so that what it cannot do is said early."""
    if isinstance(network, DataDefault):
        network = network(DatasetInfo(sample_shape, (), 1))
    build(named(network), 2, sample_shape, 0)
