"""Networks without shortcuts: ConvNet, ConvNet1d, DoublingConvNet, MLP, LeNet, AlexNet and VGG11.

They are the networks of the standard evaluation (Zhao, Mopuri and Bilen, ICLR 2021, and its reference code), with the
same shapes and parameter counts at 1x28x28 and 3x32x32, and also take samples of other sizes. Deviations:

* the reference pads the first convolution more for one-channel images, which are all 28x28 there; here this depends on
  the size, so that 28x28 gives the same maps for any number of channels, and other sizes get ordinary padding;
* the size of the classifier's input is computed from the sample, so that sizes other than 28x28 and 32x32 work.

Letters: B batch, K classes, C channels, H, W height and width, L length, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from condensed_data.core.spec import Spec
from condensed_data.core.validation import check_choice, check_count, require
from condensed_data.networks import layers
from condensed_data.networks.layers import Chain, Conv, Size

TRUNCATED = 0.87962566103423978  # standard deviation of a standard normal variable truncated at 2 and -2


@dataclass(frozen=True)
class _Blocks(Spec):
    """Fields of `ConvNet` and `ConvNet1d`."""

    width: int = 128
    depth: int = 3
    norm: str = "instance"
    activation: str = "relu"
    pooling: str = "avg"

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_count(name, "width", self.width)
        check_count(name, "depth", self.depth)
        check_choice(name, "norm", self.norm, layers.NORMS)
        check_choice(name, "activation", self.activation, layers.ACTIVATIONS)
        check_choice(name, "pooling", self.pooling, layers.POOLINGS)
        fits = self.norm != "group" or self.width % layers.GROUPS == 0
        require(fits, name, "width", self.width, f"a multiple of {layers.GROUPS} with norm='group'")


@dataclass(frozen=True)
class ConvNet(_Blocks):
    """The field's usual network: `depth` blocks of 3x3 convolution, normalization, activation and 2x2 pooling.

    The defaults are the ConvNet-3 of Gidaris and Komodakis (CVPR 2018) as used by DC, DSA and DM, whose
    embedding of a 28x28 or 32x32 image has 2048 features. The other values span the 720 networks of DC's
    architecture search. For signals (C, L) it builds `ConvNet1d` with the same fields.

    Args:
        width: channels of every block; a multiple of 4 for norm="group".
        depth: number of blocks; with pooling, every block halves the size of the map.
        norm: none, batch, layer (over C, H, W), instance (one channel a group) or group (4 groups).
        activation: sigmoid, relu, leakyrelu (slope 0.01) or swish.
        pooling: none, max or avg.

    Raises:
        ValueError: for unknown field values; when called, for samples of another kind or that are too small.
    """

    def __call__(self, num_classes: int, sample_shape: Size) -> Chain:
        if len(sample_shape) not in (2, 3):
            raise ValueError(
                "ConvNet takes images (C, H, W) or signals (C, L); "
                f'got samples of shape {tuple(sample_shape)}. Use the network "mlp".'
            )
        return _convnet(self if len(sample_shape) == 3 else ConvNet1d(**vars(self)), num_classes, sample_shape)


@dataclass(frozen=True)
class ConvNet1d(_Blocks):
    """`ConvNet` for signals (C, L), with the same fields: convolutions of length 3 and poolings of length 2.

    Not in the papers.

    Raises:
        ValueError: for unknown field values; when called, for samples that are not signals or are too short.
    """

    def __call__(self, num_classes: int, sample_shape: Size) -> Chain:
        if len(sample_shape) != 2:
            other = "convnet" if len(sample_shape) == 3 else "mlp"
            raise ValueError(
                f"ConvNet1d takes signals (C, L); got samples of shape {tuple(sample_shape)}. "
                f'Use the network "{other}".'
            )
        return _convnet(self, num_classes, sample_shape)


@dataclass(frozen=True)
class DoublingConvNet(Spec):
    """A ConvNet whose width doubles with every block: that of FRePo.

    Zhou, Nezhadarya and Ba, NeurIPS 2022, https://arxiv.org/abs/2206.00719, and the authors' code. A block is a 3x3
    convolution, ReLU and 2x2 average pooling; blocks after the first normalize their input. The embedding of a 28x28
    or 32x32 image has 8,192 features. Weights start as in the authors' Flax: normal, truncated at two standard
    deviations, of variance 1 / fan-in, and biases 0. Running statistics of batch normalization move nine tenths of the
    way to those of a batch.

    Args:
        width: channels of the first block.
        depth: number of blocks; every block halves the size of the map.
        norm: none, batch, layer, instance or group, see `ConvNet`. The authors condense with batch and test with none.

    Raises:
        ValueError: for unknown field values; when called, for samples that are not images or are too small.
    """

    width: int = 128
    depth: int = 3
    norm: str = "none"

    def __post_init__(self) -> None:
        check_count("DoublingConvNet", "width", self.width)
        check_count("DoublingConvNet", "depth", self.depth)
        check_choice("DoublingConvNet", "norm", self.norm, layers.NORMS)
        fits = self.norm != "group" or self.width % layers.GROUPS == 0
        require(fits, "DoublingConvNet", "width", self.width, f"a multiple of {layers.GROUPS} with norm='group'")

    def __call__(self, num_classes: int, sample_shape: Size) -> Chain:
        layers.check_image("DoublingConvNet", num_classes, sample_shape)
        convs = tuple(Conv(self.width * 2**block, pooling="avg") for block in range(self.depth))
        # every block but the last leaves at least 2x2 values to pool, which any normalization can take
        fitting = _fitting("DoublingConvNet", convs, 3, "none", sample_shape[1:], 'a smaller depth, the network "mlp"')
        module = layers.assemble(fitting, (), num_classes, sample_shape, self.norm, norm_first=True)
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                std = part.weight[0].numel() ** -0.5 / TRUNCATED
                nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]
            elif isinstance(part, _BatchNorm):
                part.momentum = 0.9
        return module


def _convnet(spec: _Blocks, num_classes: int, sample_shape: Size) -> Chain:
    name = f"{type(spec).__name__}(depth={spec.depth})"
    layers.check_task(name, num_classes, sample_shape)
    block = Conv(spec.width, pooling=spec.pooling)
    size = sample_shape[1:]
    shallower = [
        depth for depth in range(1, spec.depth) if layers.fits(_pad((block,) * depth, 3, size), spec.norm, size)
    ]
    remedy = f"depth={shallower[-1]}" if shallower else 'the network "mlp"'
    convs = _fitting(name, (block,) * spec.depth, 3, spec.norm, size, remedy)
    return layers.assemble(convs, (), num_classes, sample_shape, spec.norm, spec.activation)


def _pad(convs: tuple[Conv, ...], pad: int, size: Size) -> tuple[Conv, ...]:
    return layers.padded(convs, pad) if tuple(size) == layers.PADDED else convs


def _fitting(name: str, convs: tuple[Conv, ...], pad: int, norm: str, size: Size, remedy: str) -> tuple[Conv, ...]:
    """The blocks for this size, the first padded by `pad` at 28x28; raises ValueError if the size is too small."""
    chosen = _pad(convs, pad, size)
    if layers.fits(chosen, norm, size):
        return chosen
    least = layers.smallest(lambda square: layers.fits(convs, norm, square), len(size))
    special = least > layers.PADDED[0] and layers.fits(layers.padded(convs, pad), norm, layers.PADDED)
    raise layers.too_small(name, least, size, remedy, " (or exactly 28x28)" if special and len(size) == 2 else "")


def _for_images(
    name: str,
    convs: tuple[Conv, ...],
    pad: int,
    num_classes: int,
    sample_shape: Size,
    norm: str = "none",
    hidden: Sequence[int] = (),
) -> Chain:
    layers.check_image(name, num_classes, sample_shape)
    chosen = _fitting(name, convs, pad, norm, sample_shape[1:], 'the network "convnet"')
    return layers.assemble(chosen, hidden, num_classes, sample_shape, norm)


@dataclass(frozen=True)
class MLP(Spec):
    """Hidden linear layers with ReLU, for samples of any shape.

    Args:
        width: units of every hidden layer, and features of the embedding; positive.
        depth: number of hidden layers; positive.
    """

    width: int = 128
    depth: int = 2

    def __post_init__(self) -> None:
        check_count("MLP", "width", self.width)
        check_count("MLP", "depth", self.depth)

    def __call__(self, num_classes: int, sample_shape: Size) -> Chain:
        layers.check_task("MLP", num_classes, sample_shape)
        return layers.assemble((), (self.width,) * self.depth, num_classes, sample_shape)


@dataclass(frozen=True)
class LeNet(Spec):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling; its embedding has 84 features.

    Raises:
        ValueError: when called, for samples that are not images or are too small.
    """

    def __call__(self, num_classes: int, sample_shape: Size) -> Chain:
        convs = (Conv(6, 5, 0, "max"), Conv(16, 5, 0, "max"))
        return _for_images("LeNet", convs, 2, num_classes, sample_shape, hidden=(120, 84))


@dataclass(frozen=True)
class AlexNet(Spec):
    """The small AlexNet of the standard evaluation (after Krizhevsky et al. 2012), with one linear layer.

    Args:
        norm: none, batch, layer, instance or group, before every activation.

    Raises:
        ValueError: for an unknown norm; when called, for samples that are not images or are too small.
    """

    norm: str = "none"

    def __post_init__(self) -> None:
        check_choice("AlexNet", "norm", self.norm, layers.NORMS)

    def __call__(self, num_classes: int, sample_shape: Size) -> Chain:
        first = (Conv(128, 5, 2, "max"), Conv(192, 5, 2, "max"))
        convs = (*first, Conv(256), Conv(192), Conv(192, pooling="max"))
        return _for_images("AlexNet", convs, 4, num_classes, sample_shape, self.norm)


@dataclass(frozen=True)
class VGG11(Spec):
    """VGG11 (Simonyan and Zisserman 2015) with normalization and one linear layer; 512 features at 32x32.

    Args:
        norm: none, batch, layer, instance or group, before every activation.

    Raises:
        ValueError: for an unknown norm; when called, for samples that are not images or are too small.
    """

    norm: str = "instance"

    def __post_init__(self) -> None:
        check_choice("VGG11", "norm", self.norm, layers.NORMS)

    def __call__(self, num_classes: int, sample_shape: Size) -> Chain:
        widths = ((64,), (128,), (256, 256), (512, 512), (512, 512))
        groups = [tuple(Conv(width) for width in group) for group in widths]
        convs = tuple(c for group in groups for c in (*group[:-1], replace(group[-1], pooling="max")))
        return _for_images("VGG11", convs, 3, num_classes, sample_shape, self.norm)
