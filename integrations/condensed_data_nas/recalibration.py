"""Recomputes the statistics of batch normalizations for the final weights of a network.

Statistics gathered in training lag behind the weights, which change fastest in short trainings: after 40 steps, deep
networks with batch normalization are tested with statistics of weights that they no longer have. Precise statistics
are means over batches that pass through the final weights (Wu and Johnson, 2021,
https://arxiv.org/abs/2105.07576, section 3).

Letters: N samples, B rows of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from condensed_data.core.device import autocast
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.training.compute import split_evenly

MAX_SAMPLES = 1000


def recalibrate(module: nn.Module, images: Tensor, batch_size: int, precision: str) -> None:
    """Recompute the statistics of all batch normalizations of a network; other layers stay unchanged.

    Args:
        module: in evaluation mode, in which it stays.
        images: (N, *sample) that it was trained on; at most `MAX_SAMPLES` are used, in a fixed random order.
        batch_size: B, at most.
        precision: "fp32" or "bf16".
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers:
        return
    order = torch.randperm(len(images), generator=RandomStreams(0).torch("recalibrate"))[:MAX_SAMPLES].to(images.device)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
        layer.train()
    try:
        with torch.no_grad(), preserve_rng_state(), autocast(images.device, precision):
            for chunk in split_evenly(len(order), batch_size):
                module(images[order[chunk]])
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
