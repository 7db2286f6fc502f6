"""Building blocks of the networks: a chain of blocks, layer factories, and the sizes of feature maps.

Sizes are computed before layers are built: samples that are too small for a network's pooling raise an error with the
smallest possible size, and the classifier gets the right number of inputs for samples of any size. Letters: B batch, K
classes, C channels, H, W height and width, L length, D features.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from torch import Tensor, nn

from condensed_data.core.validation import check_count, is_count

Size = tuple[int, ...]

NORMS = ("none", "batch", "layer", "instance", "group")
POOLINGS = ("none", "max", "avg")
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "swish": nn.SiLU,
}
GROUPS = 4
# The reference pads its one-channel inputs, which are all 28x28, to the 32x32 of its other data.
PADDED = (28, 28)

_CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d}
_BATCH: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_POOL: dict[str, dict[int, type[nn.Module]]] = {
    "max": {1: nn.MaxPool1d, 2: nn.MaxPool2d},
    "avg": {1: nn.AvgPool1d, 2: nn.AvgPool2d},
}


class Chain(nn.Module):
    """A sequence of blocks, each followed by its pooling, then one linear classifier (B, D) -> (B, K).

    The outputs of the blocks are the feature maps. A block without pooling has an `nn.Identity` for it.
    """

    classifier: nn.Linear

    def __init__(self, blocks: Sequence[nn.Module], pools: Sequence[nn.Module], classifier: nn.Linear) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.pools = nn.ModuleList(pools)
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """(B, *sample) -> logits (B, K)."""
        return self.classifier(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """(B, *sample) -> (B, D), the flattened input of the classifier."""
        for block, pool in zip(self.blocks, self.pools, strict=True):
            x = pool(block(x))
        return x.flatten(1)

    def feature_maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, *sample) -> the output of every block before its pooling, then that of the last pooling if there is one.

        For a ConvNet these are the features f1, f2, ... of CAFE (Wang et al., CVPR 2022), except the flattened last
        one.
        """
        outputs = []
        for block, pool in zip(self.blocks, self.pools, strict=True):
            outputs.append(block(x))
            x = pool(outputs[-1])
        return tuple(outputs) if isinstance(self.pools[-1], nn.Identity) else (*outputs, x)


@dataclass(frozen=True)
class Conv:
    """One convolutional block: a stride-1 convolution, normalization, activation, and a pooling."""

    channels: int  # output channels
    kernel: int = 3  # of the convolution, the same along every dimension
    pad: int = 1
    pooling: str = "none"  # one of `POOLINGS`; it halves every dimension, rounding down


def block_sizes(convs: Sequence[Conv], size: Size) -> list[tuple[Size, Size]]:
    """Size of each block's map before and after its pooling; numbers below 1 mean that the map is empty."""
    sizes = []
    for conv in convs:
        before = tuple(length + 2 * conv.pad - conv.kernel + 1 for length in size)
        size = before if conv.pooling == "none" else tuple(length // 2 for length in before)
        sizes.append((before, size))
    return sizes


def fits(convs: Sequence[Conv], norm: str, size: Size) -> bool:
    """Whether every map of the blocks is large enough to be pooled and normalized."""
    return all(min(after) > 0 and can_normalize(norm, before) for before, after in block_sizes(convs, size))


def can_normalize(norm: str, size: Size) -> bool:
    """Whether such a map is large enough for `norm`: a single value, normalized by itself, is always 0."""
    return min(size) > 0 and (norm != "instance" or prod(size) > 1)


def padded(convs: tuple[Conv, ...], pad: int) -> tuple[Conv, ...]:
    """The same blocks with this padding of the first convolution."""
    return (replace(convs[0], pad=pad), *convs[1:])


def assemble(
    convs: Sequence[Conv],
    hidden: Sequence[int],
    num_classes: int,
    sample_shape: Size,
    norm: str = "none",
    activation: str = "relu",
    norm_first: bool = False,
) -> Chain:
    """Convolutional blocks, then hidden linear blocks of these widths, then the classifier.

    `norm_first` normalizes the input of every block but the first, instead of what its convolution makes. The caller
    has checked that the sample is large enough. Initial weights are torch's defaults, as in the reference.
    """
    channels, size = sample_shape[0], sample_shape[1:]
    blocks: list[nn.Module] = []
    pools: list[nn.Module] = []
    for conv, (before, after) in zip(convs, block_sizes(convs, size), strict=True):
        if norm_first:
            normalized = norm_layer(norm if blocks else "none", channels, size)
            block = nn.Sequential(normalized, *_conv_block(channels, conv, before, "none", activation))
        else:
            block = _conv_block(channels, conv, before, norm, activation)
        blocks.append(block)
        pools.append(nn.Identity() if conv.pooling == "none" else _POOL[conv.pooling][len(size)](2))
        channels, size = conv.channels, after
    features = channels * prod(size)
    for width in hidden:
        blocks.append(nn.Sequential(nn.Flatten(), nn.Linear(features, width), ACTIVATIONS[activation]()))
        pools.append(nn.Identity())
        features = width
    return Chain(blocks, pools, nn.Linear(features, num_classes))


def _conv_block(channels: int, conv: Conv, size: Size, norm: str, activation: str) -> nn.Sequential:
    layer = _CONV[len(size)](channels, conv.channels, conv.kernel, padding=conv.pad)
    return nn.Sequential(layer, norm_layer(norm, conv.channels, size), ACTIVATIONS[activation]())


def norm_layer(norm: str, channels: int, size: Size) -> nn.Module:
    """The normalization of a map (B, channels, *size), one of `NORMS`.

    In this literature "instance" is an affine group normalization with one channel a group, without running
    statistics; "group" has 4 groups; "layer" normalizes over (channels, *size).
    """
    if norm == "batch":
        return _BATCH[len(size)](channels)
    if norm == "layer":
        return nn.LayerNorm([channels, *size])
    if norm == "instance":
        return nn.GroupNorm(channels, channels)
    return nn.GroupNorm(GROUPS, channels) if norm == "group" else nn.Identity()


def smallest(accepts: Callable[[Size], bool], dimensions: int) -> int:
    """The smallest side of a square (or length) for which `accepts`, a monotone condition, is true."""
    high = 1
    while not accepts((high,) * dimensions):
        high *= 2
    return bisect_left(range(high), True, key=lambda side: side > 0 and accepts((side,) * dimensions))


def too_small(name: str, least: int, size: Size, remedy: str, exception: str = "") -> ValueError:
    """The error for samples that are too small for a network's pooling, with the smallest possible size."""
    if len(size) == 1:
        needs, got, larger = f"signals of length at least {least}", str(size[0]), "a longer signal"
    else:
        needs, got, larger = f"images of at least {least}x{least}", "x".join(map(str, size)), "a larger image"
    return ValueError(f"{name} needs {needs}{exception}; got {got}. Use {remedy} or {larger}.")


def check_task(name: str, num_classes: int, sample_shape: Size) -> None:
    """Raise ValueError for an impossible number of classes or sample shape."""
    check_count(name, "num_classes", num_classes)
    if not sample_shape:
        raise ValueError(f"{name}: sample_shape must have at least one dimension; got ().")
    if not all(map(is_count, sample_shape)):
        raise ValueError(f"{name}(sample_shape={tuple(sample_shape)}) must be integers of at least 1.")


def check_image(name: str, num_classes: int, sample_shape: Size) -> None:
    """Raise ValueError for samples that are not images (C, H, W)."""
    check_task(name, num_classes, sample_shape)
    if len(sample_shape) != 3:
        other = {1: '"mlp"', 2: '"convnet1d" or "mlp"'}.get(len(sample_shape), '"mlp"')
        shape = tuple(sample_shape)
        raise ValueError(f"{name} takes images (C, H, W); got samples of shape {shape}. Use the network {other}.")
