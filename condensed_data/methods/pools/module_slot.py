"""How every pool turns a module into the network that it lends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.device import supports_async_copy
from condensed_data.methods.base import NetworkView
from condensed_data.training.compute import can_compile, compiled, embed
from condensed_data.training.context import Context

CACHE_ROWS = 64  # rows whose maps stay in a CPU's cache: measured fastest for ConvNet-3 at 28x28
DEVICE_ROWS = 4096
COMPILING_PAYS = 3e10  # floating-point operations of an iteration; a CPU core takes a second for them


def copied(module: nn.Module) -> dict[str, Tensor]:
    """Its state dictionary, on the CPU and its own."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def fill(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """`load_state_dict` that does not wait for a device."""
    own = module.state_dict()
    if own.keys() != weights.keys():
        raise KeyError(f"Other names than the network's: {', '.join(sorted(own.keys() ^ weights.keys()))}.")
    other = [name for name, tensor in own.items() if tensor.shape != weights[name].shape]
    if other:  # copying would repeat the smaller one
        raise ValueError(f"Other shapes than the network's: {', '.join(other)}.")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name], non_blocking=supports_async_copy(tensor.device))


class NetworkSlot:
    """One module on the device, renewed in place, so that compiled code and addresses stay valid.

    Args:
        network: a name or a callable (num_classes, sample_shape) -> Module.
        context: of the run.
    """

    def __init__(self, network: Any, context: Context) -> None:
        self.context, real = context, context.real
        self.initial = networks.WeightInitializer(
            networks.network(network), real.num_classes, real.sample_shape
        )
        self.module = self.initial.build(0).to(context.device).train().requires_grad_(False)
        rows = CACHE_ROWS if context.device.type == "cpu" else DEVICE_ROWS
        self.net = NetworkView(
            self.module,
            self._embedding(),
            lambda x: networks.feature_maps_of(self.module)(x),  # only some objectives look at maps
            micro_batch=None if networks.has_batch_norm(self.module) else rows,
            precision=context.precision,
        )

    def _embedding(self) -> Callable[[Tensor], Tensor]:
        if self._compiles():
            return partial(compiled(embed), self.module)
        return lambda x: networks.embed_of(self.module)(x)  # only some objectives need a linear layer

    def renew(self, seed: int) -> None:
        """Draw all weights anew."""
        self.take(self.initial.at(seed))

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Copy these weights and statistics, of every name that the module has."""
        fill(self.module, weights)

    def _compiles(self) -> bool:
        """Whether compiling pays: decided by arithmetic, never by a clock, so that equal runs compute alike.

        Measured on a CPU alone: compiled bf16 embeds 1.6 times faster than eager bf16 there (ConvNet-3, 28x28).
        """
        context = self.context
        able = context.compiles and context.device.type == "cpu" and can_compile()
        if not able or not hasattr(type(self.module), "embed"):
            return False
        row = torch.zeros(1, *context.real.sample_shape, device=context.device)
        return context.real.num_groups * 256 * networks.flops(self.module, row) > COMPILING_PAYS
