"""ResNet18 (He et al., CVPR 2016) for small images, as in the standard evaluation, and its pooled variant.

The stem is one 3x3 convolution without pooling. The pooled ("AP") variant replaces every convolution of
stride 2 by one of stride 1 and average pooling, and keeps the last map instead of its average.

Deviations from the reference code of Zhao and Bilen: the last map is averaged over all of its positions instead of 4x4,
which is the same at 28x28 and 32x32; the pooled shortcut averages before its 1x1 convolution instead of after it, which
is the same linear map at a quarter of the cost. Letters: B batch, K classes, C channels, H, W height and width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

from condensed_data.core.spec import Spec
from condensed_data.core.validation import check_choice
from condensed_data.networks import layers
from condensed_data.networks.layers import Chain, Size

_WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class ResNet18(Spec):
    """A 3x3 stem and four stages of two residual blocks with 64, 128, 256 and 512 channels.

    Args:
        norm: none, batch, layer, instance or group, after every convolution.
        average_pool: build the pooled variant, whose embedding is the flattened last map instead of 512 averages.

    Raises:
        ValueError: for an unknown norm; when called, for samples that are not images or are too small.
    """

    norm: str = "instance"
    average_pool: bool = False

    def __post_init__(self) -> None:
        check_choice("ResNet18", "norm", self.norm, layers.NORMS)

    def __call__(self, num_classes: int, sample_shape: Size) -> Chain:
        layers.check_image("ResNet18", num_classes, sample_shape)
        sizes = _checked_sizes(self, sample_shape[1:])
        channels = _WIDTHS[0]
        norm = layers.norm_layer(self.norm, channels, sizes[0])
        blocks: list[nn.Module] = [nn.Sequential(_conv3x3(sample_shape[0], channels), norm, nn.ReLU())]
        for width, before, after in zip(_WIDTHS, (sizes[0], *sizes), sizes, strict=False):
            first = _Residual(self, channels, width, before, after)
            blocks.append(nn.Sequential(first, _Residual(self, width, width, after, after)))
            channels = width
        average = nn.Identity() if self.average_pool else nn.AdaptiveAvgPool2d(1)
        features = channels * (prod(sizes[-1]) if self.average_pool else 1)
        pools = [nn.Identity() for _ in _WIDTHS]
        return Chain(blocks, [*pools, average], nn.Linear(features, num_classes))


class _Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut; the first reduces the map from size `before` to `after`."""

    def __init__(self, spec: ResNet18, inner: int, width: int, before: Size, after: Size) -> None:
        super().__init__()
        # Decided by the channels, not the size: a map of one pixel keeps its size while others are halved.
        narrows = inner != width
        stride = 2 if narrows and not spec.average_pool else 1
        self.conv1 = _conv3x3(inner, width, stride)
        self.norm1 = layers.norm_layer(spec.norm, width, before if spec.average_pool else after)
        self.pool = nn.AvgPool2d(2) if narrows and spec.average_pool else nn.Identity()
        self.conv2 = _conv3x3(width, width)
        self.norm2 = layers.norm_layer(spec.norm, width, after)
        self.shortcut = _projection(spec.norm, inner, width, stride, after) if narrows else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inner, *before) -> (B, width, *after)."""
        inside = self.pool(self.relu(self.norm1(self.conv1(x))))
        return self.relu(self.norm2(self.conv2(inside)) + self.shortcut(self.pool(x)))


def _conv3x3(inner: int, outer: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)


def _projection(norm: str, inner: int, width: int, stride: int, after: Size) -> nn.Module:
    project = nn.Conv2d(inner, width, 1, stride, bias=False)
    return nn.Sequential(project, layers.norm_layer(norm, width, after))


def _sizes(average_pool: bool, size: Size) -> list[Size]:
    """Map sizes of the four stages: pooling rounds down, a convolution of stride 2 rounds up."""
    sizes = [tuple(size)]
    for _ in _WIDTHS[1:]:
        sizes.append(tuple((length + (not average_pool)) // 2 for length in sizes[-1]))
    return sizes


def _checked_sizes(spec: ResNet18, size: Size) -> list[Size]:
    def accepts(candidate: Size, norm: str = spec.norm) -> bool:
        return layers.can_normalize(norm, _sizes(spec.average_pool, candidate)[-1])

    if not accepts(size):
        remedy = "norm='batch'" if accepts(size, "batch") else 'the network "convnet"'
        raise layers.too_small(repr(spec), layers.smallest(accepts, len(size)), size, remedy)
    return _sizes(spec.average_pool, size)
