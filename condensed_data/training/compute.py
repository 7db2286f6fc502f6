"""Loss, predictions and accuracy of a network, and what makes them fast on a CPU: chunks and compiled code.

Measured on two cores (ConvNet-3 of width 128, 28x28): splitting a batch of 100 into chunks whose feature maps stay in
the cache trains 1.6 times faster in fp32 and 1.2 times in bf16. Compiling adds another factor of 1.1 in fp32 and 1.35
in bf16, and takes about 8 s once. Channels-last gains nothing. So batches are split, and bf16 is compiled if there are
enough steps to make up for it. Letters: N samples, B rows of a batch, K classes.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import sysconfig
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data.core.batch import at_least_float32
from condensed_data.core.device import autocast, to_device
from condensed_data.core.rng import preserve_rng_state
from condensed_data.networks.modes import temporary_hooks, temporary_mode

CACHE_VALUES = 5 * 2**19  # values of a feature map that stay in a CPU's cache between layers
DEVICE_ROWS = 512  # rows of a forward pass on other devices
# Compiling starts at this many values of the largest map over all steps; it breaks even at about half of them.
COMPILE_PAYS = 5e9

LossFunction = Callable[[nn.Module, Tensor, Tensor, str], Tensor]


def activation_sizes(module: nn.Module, x: Tensor) -> tuple[list[int], Tensor]:
    """Number of values of every layer's output for `x`, and the final output."""
    sizes = [x.numel()]

    def record(layer: nn.Module, inputs: Any, output: Any) -> None:
        sizes.append(output.numel() if isinstance(output, Tensor) else 0)

    hooks = temporary_hooks(layer.register_forward_hook(record) for layer in module.modules())
    with hooks, temporary_mode(module, training=False), torch.no_grad(), preserve_rng_state():
        return sizes, module(x)


def cache_rows(largest: int) -> int:
    """Rows of a chunk whose largest feature map, of `largest` values a row, stays in a CPU's cache."""
    return max(8, CACHE_VALUES // largest)


def split_evenly(length: int, most: int | None) -> list[slice]:
    """Split `range(length)` into as few chunks of at most `most` as possible, of nearly equal size."""
    chunks = 1 if most is None else -(-length // most)
    ends = [round(i * length / chunks) for i in range(chunks + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def regression_targets(y: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """What outputs are regressed on, (B, K): scores (B, K) as they are, classes (B,) as one-hot rows minus 1/K."""
    if y.ndim == 2:
        return y.to(dtype)
    return (y.unsqueeze(1) == torch.arange(num_classes, device=y.device)).to(dtype) - 1 / num_classes


def loss_and_logits(
    module: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    precision: str,
    reduction: str = "sum",
    loss: str = "cross_entropy",
) -> tuple[Tensor, Tensor]:
    """Loss of samples (B, *sample) with labels (B,) or (B, K), and logits (B, K), in float32 at least.

    `loss` is one of `protocol.LOSSES`; a row's squared error is half the sum over classes.
    """
    with autocast(x.device, precision):
        logits = module(x)
    logits = at_least_float32(logits)
    if loss == "cross_entropy":
        return F.cross_entropy(logits, y, reduction=reduction), logits
    rows = (logits - regression_targets(y, logits.shape[1], logits.dtype)).square().sum(1) / 2
    return rows.mean() if reduction == "mean" else rows.sum(), logits


def batch_loss(module: nn.Module, x: Tensor, y: Tensor, precision: str) -> Tensor:
    """The loss of `loss_and_logits`, summed over the rows."""
    return loss_and_logits(module, x, y, precision)[0]


def batch_squared_error(module: nn.Module, x: Tensor, y: Tensor, precision: str) -> Tensor:
    """The squared error of `loss_and_logits`, summed over the rows."""
    return loss_and_logits(module, x, y, precision, loss="squared_error")[0]


BATCH_LOSSES: dict[str, LossFunction] = {"cross_entropy": batch_loss, "squared_error": batch_squared_error}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A module-level function, compiled once for every shape of its arguments.

    torch caches compiled code per code object and falls back to eager mode, with other bits, after eight versions. A
    copy of the code object makes the result independent of what the process compiled before.
    """
    own = types.FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return torch.compile(own, dynamic=False)


def embed(module: Any, x: Tensor) -> Tensor:
    """`module.embed(x)`, as a function that can be `compiled`."""
    return module.embed(x)


@functools.cache
def can_compile() -> bool:
    """Whether the compiler and the headers that torch.compile needs for this CPU are installed."""
    compiler = os.environ.get("CXX") or "g++"
    headers = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    return any(shutil.which(name) for name in (compiler, "clang++")) and os.path.exists(headers)


def predict(module: nn.Module, images: Tensor, batch: int | None = None, precision: str = "fp32") -> Tensor:
    """Predicted class indices, (N,) int64 on the CPU; arguments as in `accuracy`."""
    parameter = next(module.parameters(), images)
    if batch is None:
        sizes, _ = activation_sizes(module, images[:1].to(parameter.device, parameter.dtype))
        batch = cache_rows(max(sizes)) if parameter.device.type == "cpu" else DEVICE_ROWS
    predicted = []
    computing = autocast(parameter.device, precision)
    with temporary_mode(module, training=False), torch.inference_mode(), preserve_rng_state(), computing:
        for rows in images.split(batch):
            x = to_device(rows, parameter.device, parameter.dtype)
            predicted.append(module(x).argmax(1))
    return torch.cat(predicted).cpu()


def accuracy(
    module: nn.Module,
    images: Tensor,
    labels: Tensor,
    batch: int | None = None,
    precision: str = "fp32",
    num_classes: int | None = None,
) -> tuple[float, Tensor]:
    """Fraction of samples that a network in evaluation mode classifies correctly.

    Args:
        module: (B, *sample) -> (B, K) logits; its mode is restored.
        images: (N, *sample), standardized; moved to the network's device batch by batch.
        labels: (N,) int64.
        batch: rows of a forward pass; by default as many as fit a CPU's cache, or 512 on other devices.
        precision: "fp32" or "bf16".
        num_classes: K; by default the largest label plus one.

    Returns:
        The fraction of all samples, in [0, 1], and that of each class: (K,) float64, NaN for a class without samples.
    """
    labels = labels.cpu()
    hits = predict(module, images, batch, precision) == labels
    counts = labels.bincount(minlength=num_classes or 0)
    per_class = labels[hits].bincount(minlength=len(counts)).double() / counts
    return float(hits.double().mean()), per_class
