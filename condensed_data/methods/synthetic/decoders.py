"""Small networks that decode a code into a sample; `Factorized` learns them together with the codes.

Letters: B rows, C channels, H, W, L, k kernel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from condensed_data.core.spec import Spec
from condensed_data.core.validation import check_choice, check_count

_CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d}
_CONV_TRANSPOSE: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}


class Decoder(Spec, ABC):
    """Specification of a map from codes (B, *code) to images or signals (B, *sample) of any size."""

    @abstractmethod
    def code_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one code."""

    @abstractmethod
    def module(self, sample_shape: tuple[int, ...]) -> nn.Module:
        """A new decoder with random weights from torch's global generator."""

    @abstractmethod
    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise ValueError for a sample shape that it cannot decode to."""


@dataclass(frozen=True)
class Hallucinator(Decoder):
    """HaBa's hallucinator: a convolution, a learned scale and shift of every value, a transposed convolution.

    Liu S. et al., NeurIPS 2022, https://arxiv.org/abs/2210.16774, section 3.2. A code (called basis there) has the
    shape of a sample. It has 1,372 parameters for 1x28x28 and 5,568 for 3x32x32, as in the authors' code, which
    supports no other size.

    Args:
        kernel: k, size of both convolution kernels.
        start: "random" keeps torch's initialization of the convolutions; "identity" scales it by 0.1 and adds kernels
            that return the basis (except for a border of k // 2 pixels), so that samples start close to their bases.

    Raises:
        ValueError: from `check`, for vectors and samples smaller than the kernel.
    """

    kernel: int = 3
    start: str = "random"

    def __post_init__(self) -> None:
        check_count("Hallucinator", "kernel", self.kernel)
        check_choice("Hallucinator", "start", self.start, ("random", "identity"))

    def code_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        return sample_shape

    def check(self, sample_shape: tuple[int, ...]) -> None:
        _check_sides("Hallucinator", sample_shape)
        if min(sample_shape[1:]) < self.kernel:
            raise ValueError(
                f"Hallucinator(kernel={self.kernel}) is larger than samples of shape {sample_shape}. "
                f"Use kernel={min(sample_shape[1:])} or less."
            )

    def module(self, sample_shape: tuple[int, ...]) -> nn.Module:
        module = _Hallucinator(sample_shape, self.kernel)
        if self.start == "identity":
            module.initialize_as_identity()
        return module


class _Hallucinator(nn.Module):
    def __init__(self, sample_shape: tuple[int, ...], kernel: int) -> None:
        super().__init__()
        channels, *sides = sample_shape
        self.conv = _CONV[len(sides)](channels, channels, kernel)
        self.scale = nn.Parameter(torch.ones(channels, *(side - kernel + 1 for side in sides)))
        self.shift = nn.Parameter(torch.zeros_like(self.scale))
        self.conv_transpose = _CONV_TRANSPOSE[len(sides)](channels, channels, kernel)

    def forward(self, code: Tensor) -> Tensor:
        decoded: Tensor = self.conv_transpose(self.conv(code) * self.scale + self.shift)
        return decoded

    def initialize_as_identity(self) -> None:
        with torch.no_grad():
            for layer in (self.conv, self.conv_transpose):
                layer.weight.mul_(0.1).add_(nn.init.dirac_(torch.empty_like(layer.weight)))
                layer.bias.mul_(0.1)


@dataclass(frozen=True)
class LatentDecoder(Decoder):
    """KFS's decoder: two transposed convolutions of stride 2 from a small latent map.

    Lee, Lee and Hwang, 2022, https://arxiv.org/abs/2208.10494. The authors published no code, so the sizes are ours: a
    code has `channels` maps with a quarter of the sample's sides, rounded up; excess pixels are cut off.

    Args:
        channels: channels of a code.
        width: channels between the two layers.

    Raises:
        ValueError: from `check`, for vectors.
    """

    channels: int = 2
    width: int = 16

    def __post_init__(self) -> None:
        check_count("LatentDecoder", "channels", self.channels)
        check_count("LatentDecoder", "width", self.width)

    def code_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.channels, *(-(-side // 4) for side in sample_shape[1:]))

    def check(self, sample_shape: tuple[int, ...]) -> None:
        _check_sides("LatentDecoder", sample_shape)

    def module(self, sample_shape: tuple[int, ...]) -> nn.Module:
        return _LatentDecoder(self, sample_shape)


class _LatentDecoder(nn.Module):
    def __init__(self, spec: LatentDecoder, sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *self.sides = sample_shape
        layer = _CONV_TRANSPOSE[len(self.sides)]
        self.first = layer(spec.channels, spec.width, 4, 2, 1)
        self.second = layer(spec.width, channels, 4, 2, 1)

    def forward(self, code: Tensor) -> Tensor:
        decoded: Tensor = self.second(self.first(code).relu())
        for dim, side in enumerate(self.sides, start=2):
            decoded = decoded.narrow(dim, 0, side)
        return decoded


def _check_sides(name: str, sample_shape: tuple[int, ...]) -> None:
    if len(sample_shape) not in (2, 3):
        raise ValueError(
            f"{name} decodes to images (C, H, W) or signals (C, L), not to samples of shape {sample_shape}. Use Pixels."
        )
