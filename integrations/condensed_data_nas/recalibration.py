"""Statistics of batch normalizations, estimated anew once a network is trained.

What a network gathers while it learns lags behind its weights, which move fastest in short trainings: after 40 steps,
deep networks with batch normalization are judged by statistics of weights that they no longer have. Precise statistics
are the means over batches that pass through the final weights (Wu and Johnson, 2021,
https://arxiv.org/abs/2105.07576, section 3).

Letters: N samples, B rows of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.training.compute import autocast, split_evenly

MOST = 1000  # samples that pass through


def recalibrate(module: nn.Module, images: Tensor, rows: int, precision: str) -> None:
    """Give the batch normalizations of a network the statistics of its final weights; others are left alone.

    Args:
        module: in evaluation mode, which it stays in.
        images: (N, *sample) that it was trained on, on its device; `MOST` of them count, in one random order.
        rows: B, at most.
        precision: "fp32" or "bf16".
    """
    layers = [
        layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats
    ]
    if not layers:
        return
    order = torch.randperm(len(images), generator=RandomStreams(0).torch("recalibrate"))[:MOST].to(
        images.device
    )
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
        layer.train()
    try:
        with torch.no_grad(), preserve_rng_state(), autocast(images.device, precision):
            for piece in split_evenly(len(order), rows):
                module(images[order[piece]])
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
            layer.eval()
