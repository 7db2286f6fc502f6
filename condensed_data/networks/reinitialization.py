"""Initial weights of a network for many seeds, faster than building it for each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from condensed_data.core.spec import Spec
from condensed_data.networks.registry import NetworkFunction, build


class WeightInitializer:
    """The initial weights that `build` gives for any seed, drawn in place into one module if that gives the same.

    Building modules takes longer than drawing small weights, and pools renew their network every iteration. Drawing in
    place calls `reset_parameters` of every layer in order. It is used for specifications of this package, whose modules
    do not depend on the seed, after checking once that it reproduces what `build` gives. Arguments and errors are those
    of `build`.
    """

    def __init__(self, spec: NetworkFunction, num_classes: int, sample_shape: tuple[int, ...]) -> None:
        self.spec, self.num_classes, self.shape = spec, num_classes, sample_shape
        self.module = self.build(0)
        self.in_place = isinstance(spec, Spec) and self._reproduces_build()

    def build(self, seed: int) -> nn.Module:
        """A new module with the initial weights of this seed, on the CPU."""
        return build(self.spec, self.num_classes, self.shape, seed)

    def at(self, seed: int) -> dict[str, Tensor]:
        """State dictionary for this seed, on the CPU; valid until the next call."""
        if self.in_place:
            _draw(self.module, seed)
        else:
            self.module = self.build(seed)
        return self.module.state_dict()

    def _reproduces_build(self) -> bool:
        own = [layer for layer in self.module.modules() if _has_state(layer)]
        if not all(callable(getattr(layer, "reset_parameters", None)) for layer in own):
            return False
        expected = self.build(1).state_dict()
        _draw(self.module, 1)
        found = self.module.state_dict()
        return all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def _has_state(layer: nn.Module) -> bool:
    """Whether the layer itself has parameters or buffers."""
    own = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
    return bool(own)


def _draw(module: nn.Module, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for layer in module.modules():
            if _has_state(layer):
                layer.reset_parameters()  # type: ignore[operator]
