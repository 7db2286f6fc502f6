"""Initial weights drawn in place equal those of a new network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from condensed_data import networks
from condensed_data.methods.pools.network_slot import copy_weights
from condensed_data.networks import MLP, ConvNet, ResNet18, WeightInitializer, Xavier

SHAPE = (3, 16, 16)


class Scaled(nn.Module):
    """A module with a weight that `reset_parameters` does not draw."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1))
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Any) -> Any:
        return self.classifier(x.flatten(1)) * self.scale


def plain(num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(768, num_classes))


def scaled(num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
    return Scaled(num_classes)


IN_PLACE = [ConvNet(width=8, depth=2), ConvNet(width=8, depth=2, norm="batch"), MLP(width=8), ResNet18()]


@pytest.mark.parametrize("spec", [*IN_PLACE, Xavier(ConvNet(width=8)), plain, scaled])
def test_every_seed_gives_what_build_gives(spec: Any, untouched_rng: None) -> None:
    drawn = WeightInitializer(spec, 4, SHAPE)
    assert drawn.in_place == (spec in IN_PLACE)
    for seed in (3, 0, 3, 2**62):
        wanted = networks.build(spec, 4, SHAPE, seed).state_dict()
        found = drawn.at(seed)
        assert list(found) == list(wanted)
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_changes_of_the_weights_are_overwritten() -> None:
    drawn = WeightInitializer(IN_PLACE[1], 4, SHAPE)
    wanted = {name: tensor.clone() for name, tensor in drawn.at(5).items()}
    for tensor in drawn.at(6).values():
        tensor.fill_(7)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in drawn.at(5).items())


def test_weights_of_another_network_raise() -> None:
    module = nn.Linear(3, 2)
    whole = {name: torch.ones_like(tensor) for name, tensor in module.state_dict().items()}
    copy_weights(module.state_dict(), whole)
    assert bool((module.weight == 1).all())
    with pytest.raises(ValueError, match="does not match the network: names with other shapes: bias"):
        copy_weights(module.state_dict(), {**whole, "bias": torch.ones(1)})
    with pytest.raises(KeyError, match="bias"):
        copy_weights(module.state_dict(), {"weight": whole["weight"]})
