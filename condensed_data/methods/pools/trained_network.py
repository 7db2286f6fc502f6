"""Common parts of pools that train their networks during the run: state, mini-batches, batch-norm statistics.

Letters: B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from condensed_data.core.batch import NetworkView
from condensed_data.core.device import to_device
from condensed_data.core.rng import RandomStreams, seeded_rng
from condensed_data.methods.base import PoolState, SyntheticData
from condensed_data.methods.pools.network_slot import NetworkSlot, load_training_state, training_state
from condensed_data.training.context import Context
from condensed_data.training.sgd import SGDConfig

BATCH_NORM_ROWS = 16  # real samples per class from which batch normalization takes its statistics

Batches = Iterator[tuple[Tensor, Tensor]]


class TrainedNetworkState(PoolState):
    """One network at a time, trained by SGD between iterations. Subclasses decide when to replace it."""

    def __init__(self, context: Context, network: Any, sgd: SGDConfig) -> None:
        self.context, self.sgd = context, sgd
        self.slot = NetworkSlot(network, context)
        self.trainer = self.slot.trainer(sgd)
        self.network_index: int | None = None
        self._normalized_at: int | None = None

    def _start_network(self, index: int) -> None:
        """Replace the network by random network number `index` of the run."""
        self.network_index, self._normalized_at = index, None
        self.slot.reinitialize(self.context.rng.seed_for("network", index))
        self.trainer = self.slot.trainer(self.sgd)

    def _normalized(self, iteration: int) -> NetworkView:
        """The network with the batch-norm statistics of this iteration."""
        if iteration != self._normalized_at:
            self._normalized_at = iteration
            freeze_batch_norm(self.slot.module, self.context, iteration)
        return self.slot.net

    def state_dict(self) -> dict[str, Any]:
        if self.network_index is None:
            return {}
        return {"network_index": self.network_index, **training_state(self.slot.module, self.trainer.optimizer)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            self._start_network(state["network_index"])
            load_training_state(self.slot.module, self.trainer.optimizer, state)


def synthetic_epochs(
    synthetic_data: SyntheticData, sgd: SGDConfig, epochs: int, rng: RandomStreams, device: torch.device
) -> Batches:
    """Batches (B, *sample), (B,) or (B, K) of `epochs` passes over all synthetic samples."""
    index = torch.arange(len(synthetic_data.labels))
    with torch.no_grad():
        x, y = synthetic_data.decode(index), synthetic_data.targets(index).detach()
    for epoch in range(epochs):
        for rows in sgd.batches(len(x), rng.torch("shuffle", epoch)):
            rows = to_device(rows, device)
            yield x[rows], y[rows]


def real_batches(context: Context, indices: tuple[Tensor, ...]) -> Batches:
    """Batches (B, *sample), (B,) of the real samples with these indices."""
    for rows in indices:
        yield context.real.batch(rows, context.device)


def freeze_batch_norm(module: nn.Module, context: Context, iteration: int) -> None:
    """Set the statistics of every batch-norm layer from one batch of real samples of all groups, and freeze them.

    DC's code moves the running statistics a tenth of the way to those of the batch; here they are replaced.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return
    real, momenta = context.real, [layer.momentum for layer in layers]
    rows = [  # the names of draws keep their spelling: they decide the numbers that are drawn
        members[context.rng.choice("normalise", iteration, group, len(members), BATCH_NORM_ROWS)]
        for group, members in enumerate(real.members)
    ]
    module.train()
    for layer in layers:
        layer.momentum = 1.0
    with torch.no_grad(), seeded_rng(RandomStreams(context.rng.seed_for("normalise", iteration))):
        module(to_device(real[torch.cat(rows)], context.device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
