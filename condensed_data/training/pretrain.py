"""Trains networks on another dataset, for `pools.GivenWeights`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.trained_networks import trained_networks


def trained_on(
    source: Any,
    network: str | Callable[..., nn.Module],
    pretraining: Pretraining | None = None,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    num_workers: int = 0,
    progress: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> list[dict[str, Tensor]]:
    """Train networks on a dataset.

    DD's adaptation (Wang et al., 2018, https://arxiv.org/abs/1811.10959, section 4.2) trains with Adam; here it is
    `SGDConfig`, SGD with momentum.

    Args:
        source: any dataset that `CondensedDataset` takes. Its samples must have the shape of those that the networks
            will be adapted to (resize them); they are standardized by their own mean and standard deviation.
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        pretraining: how many networks, and how to train them; by default `Pretraining()`.
        seed: of initial weights and draws.
        folder: cache of trained networks; None for no cache.
        device, precision: where and how to compute.
        num_workers, progress: for reading the source.
        report: called with (completed epochs, all epochs).

    Returns:
        `pretraining.networks` state dictionaries on the CPU. Asking for more networks does not change the first ones.

    Raises:
        SourceError: if the source cannot be read.
        FloatingPointError: if training diverges.
    """
    device = choose_device(device)
    with preserve_rng_state():
        real = RealData.read(inspect(source), None, num_workers, progress).to(device)
        store = PretrainedCache(None if folder is None else Path(folder), report=report)
        precision = choose_precision(precision, device)
        context = Context(real, 1, RandomStreams(seed), device, precision, network_store=store)
        return [result.weights for result in trained_networks(context, network, pretraining or Pretraining())]
