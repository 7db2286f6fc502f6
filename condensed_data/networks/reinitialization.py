"""Initial weights of one network for seed after seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from condensed_data.core.spec import Spec
from condensed_data.networks.registry import NetworkFunction, build


class WeightInitializer:
    """What `build` gives for any seed, drawn into one module on the CPU where that gives the same.

    Making the modules takes longer than drawing small weights, and pools renew their network every iteration. Drawing in
    place is `reset_parameters` of every layer in order. It is taken for specifications of this package, whose modules
    do not depend on the seed, where it was seen to repeat what `build` did.

    Args:
        spec: what `network` returns.
        num_classes: K.
        sample_shape: of one sample.

    Raises:
        ValueError, TypeError: as `build`.
    """

    def __init__(self, spec: NetworkFunction, num_classes: int, sample_shape: tuple[int, ...]) -> None:
        self.spec, self.num_classes, self.shape = spec, num_classes, sample_shape
        self.module = self.built(0)
        self.in_place = isinstance(spec, Spec) and self._repeats()

    def built(self, seed: int) -> nn.Module:
        """A new module with the weights of this seed, on the CPU."""
        return build(self.spec, self.num_classes, self.shape, seed)

    def at(self, seed: int) -> dict[str, Tensor]:
        """State dictionary of this seed, on the CPU; valid until the next is asked for."""
        if self.in_place:
            _draw(self.module, seed)
        else:
            self.module = self.built(seed)
        return self.module.state_dict()

    def _repeats(self) -> bool:
        holders = [layer for layer in self.module.modules() if _holds(layer)]
        if not all(callable(getattr(layer, "reset_parameters", None)) for layer in holders):
            return False
        wanted = self.built(1).state_dict()
        _draw(self.module, 1)
        found = self.module.state_dict()
        return all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def _holds(layer: nn.Module) -> bool:
    """Whether it has weights or statistics of its own."""
    own = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
    return bool(own)


def _draw(module: nn.Module, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for layer in module.modules():
            if _holds(layer):
                layer.reset_parameters()  # type: ignore[operator]
