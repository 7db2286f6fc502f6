"""Networks with initial weights other than torch's defaults.

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from condensed_data.core.spec import DataDefault, Spec
from condensed_data.networks.registry import network


@dataclass(frozen=True)
class Xavier(Spec):
    """Another network with Xavier-normal weights of gain 1 and biases of 0 (Glorot and Bengio, AISTATS 2010).

    These are the initial weights of dataset distillation (Wang et al., 2018, https://arxiv.org/abs/1811.10959).
    One-dimensional weights (those of normalizations) keep their values.

    Args:
        inner: a name, a specification or any callable (num_classes, sample_shape) -> Module.

    Raises:
        ValueError: for an unknown name, and for a `DataDefault`: pass the network that it would choose.
    """

    inner: str | Callable[..., nn.Module]

    def __post_init__(self) -> None:
        if isinstance(self.inner, DataDefault):
            raise ValueError(f"Xavier(inner={self.inner!r}) must be a network, not a DataDefault that chooses one.")
        network(self.inner)

    def __call__(self, num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
        module = network(self.inner)(num_classes, sample_shape)
        for name, parameter in module.named_parameters():
            if parameter.dim() >= 2:
                nn.init.xavier_normal_(parameter)
            elif name.rpartition(".")[2] == "bias":
                nn.init.zeros_(parameter)
        return module
