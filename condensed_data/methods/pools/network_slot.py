"""The one network that a pool keeps on the device and re-initializes or overwrites in place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.batch import NetworkView
from condensed_data.core.device import supports_async_copy
from condensed_data.core.spec import DataDefault
from condensed_data.methods.base import Pool, PoolState
from condensed_data.networks.registry import DefaultNetwork, NetworkLike, check_network
from condensed_data.training.compute import can_compile, compiled, embed
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig, SGDTrainer

CACHE_ROWS = 64  # rows whose feature maps stay in a CPU's cache: measured fastest for ConvNet-3 at 28x28
DEVICE_ROWS = 4096
COMPILE_THRESHOLD = 3e10  # floating-point operations of an iteration, about a second on a CPU core


class NetworkSlot:
    """One module on the device, changed in place so that compiled code stays valid.

    Objectives use its view `net`; the parameters of `module` do not require gradients.
    """

    def __init__(self, network: Any, context: Context) -> None:
        self.context, real = context, context.real
        self._initializer = networks.WeightInitializer(networks.network(network), real.num_classes, real.sample_shape)
        self.module = self._initializer.build(0).to(context.device).train().requires_grad_(False)
        rows = CACHE_ROWS if context.device.type == "cpu" else DEVICE_ROWS
        self.net = NetworkView(
            self.module,
            self._embedding(),
            lambda x: networks.feature_maps_of(self.module)(x),  # lazy: only some objectives use feature maps
            micro_batch=None if networks.has_batch_norm(self.module) else rows,
            precision=context.precision,
        )

    def reinitialize(self, seed: int) -> None:
        """Draw new random weights."""
        self.load(self._initializer.at(seed))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copy a full state dictionary into the module."""
        copy_weights(self.module.state_dict(), weights)

    def trainer(self, sgd: SGDConfig, module: nn.Module | None = None) -> SGDTrainer:
        """A trainer with a new optimizer, of the slot's module or of a copy of it."""
        real = self.context.real
        return SGDTrainer(module or self.module, sgd, real.num_classes, real.sample_shape, self.context.precision)

    def _embedding(self) -> Callable[[Tensor], Tensor]:
        if self._should_compile():
            return partial(compiled(embed), self.module)
        return lambda x: networks.embed_of(self.module)(x)  # lazy: only some objectives need a linear layer

    def _should_compile(self) -> bool:
        """Whether compiling pays off: decided by operation counts, not timings, so that equal runs compute the same.

        Measured on a CPU only: compiled bf16 embeds 1.6 times faster than eager bf16 there (ConvNet-3, 28x28).
        """
        context = self.context
        possible = context.compiles and context.device.type == "cpu" and can_compile()
        if not possible or not hasattr(type(self.module), "embed"):
            return False
        row = torch.zeros(1, *context.real.sample_shape, device=context.device)
        return context.real.num_groups * 256 * networks.flops(self.module, row) > COMPILE_THRESHOLD


@dataclass(frozen=True)
class NetworkPool(Pool):
    """Base of pools that build their networks from one specification.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
    """

    network: NetworkLike | DataDefault = field(default_factory=DefaultNetwork)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        check_network(self.network, sample_shape)


class StatelessPoolState(PoolState):
    """Base for pools whose network depends on the iteration alone, so that there is nothing to checkpoint."""

    slot: NetworkSlot
    loaded: tuple[Any, ...] | None = None  # the key of the weights now in the slot

    def network_at(self, iteration: int) -> NetworkView:
        key = self._key(iteration)
        if key != self.loaded:
            self._load(*key)
            self.loaded = key
        return self.slot.net

    @abstractmethod
    def _key(self, iteration: int) -> tuple[Any, ...]:
        """Which weights are used in this iteration."""

    @abstractmethod
    def _load(self, *key: Any) -> None:
        """Load these weights into the slot."""


def cpu_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the module's state dictionary on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def copy_weights(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into a network's `own`, like `load_state_dict`, but without waiting for the device.

    Raises:
        KeyError: if names differ.
        ValueError: if shapes differ.
    """
    if own.keys() != weights.keys():
        names = ", ".join(sorted(own.keys() ^ weights.keys()))
        raise KeyError(f"The state dictionary does not match the network: names only one of them has: {names}.")
    mismatched = [name for name, tensor in own.items() if tensor.shape != weights[name].shape]
    if mismatched:  # `copy_` would broadcast the smaller one
        names = ", ".join(mismatched)
        raise ValueError(f"The state dictionary does not match the network: names with other shapes: {names}.")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name], non_blocking=supports_async_copy(tensor.device))


def training_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What a checkpoint keeps of a network in training."""
    return {"network": module.state_dict(), "optimizer": optimizer.state_dict()}


def load_training_state(module: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Restore what `training_state` returned."""
    module.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
