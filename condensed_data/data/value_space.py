"""Value spaces: convert between the samples of a source and the standardized tensors that are optimized.

Synthetic data are optimized in a standardized space (per-channel mean 0 and standard deviation 1 over the source),
because the published learning rates and the zero fill of the augmentations assume it. Letters: N samples, C channels,
D features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.data.whitening import Whitening

if TYPE_CHECKING:
    from torchvision.transforms import LinearTransformation, Normalize

PIL_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
TENSOR_TYPES = ("uint8", "float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class SampleKind:
    """Type and shape of the samples that a source yields."""

    name: str  # "pil:L", "pil:RGB", "pil:RGBA", "tensor:uint8" or "tensor:float32" (float16, bfloat16, float64)
    shape: tuple[int, ...]  # of one sample as a tensor: (C, H, W), (C, L) or (D,)

    @staticmethod
    def from_name(name: str, shape: tuple[int, ...]) -> SampleKind:
        """The kind of this name and shape; ValueError for an unknown name, or a shape that does not match it."""
        mode, dtype = name.removeprefix("pil:"), name.removeprefix("tensor:")
        if name.startswith("pil:"):
            valid = mode in PIL_CHANNELS and len(shape) == 3 and shape[0] == PIL_CHANNELS[mode]
        else:
            valid = dtype in TENSOR_TYPES
        if not valid:
            raise ValueError(f"Samples cannot be of kind {name!r} and shape {shape}.")
        return SampleKind(name, shape)

    @property
    def is_pil(self) -> bool:
        return self.name.startswith("pil:")

    @property
    def eight_bit(self) -> bool:
        """Whether samples are rounded to 8 bits on output."""
        return self.is_pil or self.name == "tensor:uint8"

    @property
    def max_value(self) -> float:
        """Largest value of an 8-bit sample in the source's value space: 1 for PIL images, 255 for uint8 tensors."""
        return 1.0 if self.is_pil else 255.0

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Smallest and largest value of an 8-bit sample; None for other samples."""
        return (0.0, self.max_value) if self.eight_bit else None

    @property
    def dtype(self) -> torch.dtype:
        """Of the values that the source yields; uint8 for PIL images."""
        dtype: torch.dtype = torch.uint8 if self.is_pil else getattr(torch, self.name.removeprefix("tensor:"))
        return dtype

    def to_dtype(self, samples: Tensor) -> Tensor:
        """Round (N, *shape) float32 in the source's value space to the nearest values of its dtype."""
        if self.eight_bit:
            samples = (samples * (255 / self.max_value)).round().clamp(0, 255)
        return samples.to(self.dtype)

    def from_dtype(self, samples: Tensor) -> Tensor:
        """Convert (N, *shape) as `to_dtype` returns it to float32 in the source's value space."""
        return samples.float() / 255 if self.is_pil and samples.dtype == torch.uint8 else samples.float()

    def to_sample(self, sample: Tensor) -> Any:
        """Convert (*shape) float32 in the source's value space to a sample as the source yields it."""
        if self.is_pil:
            pixels = (sample * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
            return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
        if self.name == "tensor:uint8":
            return sample.round().clamp(0, 255).to(torch.uint8)
        return sample.to(getattr(torch, self.name.removeprefix("tensor:")))

    def round_to_8_bits(self, samples: Tensor) -> Tensor:
        """Round samples (N, *shape) to 8 bits; they stay in the source's value space."""
        return (samples * (255 / self.max_value)).round().clamp(0, 255) * (self.max_value / 255)


@dataclass(frozen=True)
class ValueSpace:
    """The affine map between the source's value space and the standardized space."""

    mean: Tensor  # (C,) or (D,) in the source's value space: [0, 1] for PIL images, as given for tensors
    std: Tensor
    # applied afterwards if the recipe asks for it; the standardized space is then the whitened one
    whitening: Whitening | None = None

    @staticmethod
    def from_sums(total: Tensor, squares: Tensor, count: int) -> ValueSpace:
        """From sums (C,) or (D,) float64 of the values and of their squares, and the number of values per channel.

        A source that is already standardized (means within 0.1, standard deviations within 10 %) keeps its values.
        """
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0).sqrt()
        if bool((mean.abs() < 0.1).all()) and bool(((std - 1).abs() < 0.1).all()):
            mean, std = torch.zeros_like(mean), torch.ones_like(std)
        # relative, so that signals in tiny units (volts, tesla) are not mistaken for constant channels
        std = torch.where(std <= 1e-6 * mean.abs(), torch.ones_like(std), std)
        return ValueSpace(mean.float(), std.float())

    def standardize(self, samples: Tensor) -> Tensor:
        """Convert (N, *shape) from the source's value space to (N, *shape) float32 standardized."""
        scaled = self.scale(samples)
        return scaled if self.whitening is None else self.whitening.apply(scaled)

    def scale(self, samples: Tensor) -> Tensor:
        """Standardize each channel, without whitening."""
        return (samples.float() - self._like(self.mean, samples)) / self._like(self.std, samples)

    def restore(self, samples: Tensor) -> Tensor:
        """Convert (N, *shape) standardized to (N, *shape) float32 in the source's value space."""
        samples = samples.float() if self.whitening is None else self.whitening.invert(samples.float())
        return samples * self._like(self.std, samples) + self._like(self.mean, samples)

    def as_linear_map(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """`standardize` with whitening as a matrix (D, D) and a mean (D,): (flat sample - mean) @ matrix."""
        assert self.whitening is not None
        values_per_channel = math.prod(shape) // len(self.mean)
        std, mean = (values.repeat_interleave(values_per_channel) for values in (self.std, self.mean))
        return self.whitening.map() / std[:, None], mean + std * self.whitening.mean

    def torchvision_transform(self, shape: tuple[int, ...]) -> Normalize | LinearTransformation:
        """`standardize` for one sample as a torchvision transform; see `CondensedDataset.normalization`.

        Whitened samples that are not images raise ValueError.
        """
        from torchvision.transforms import LinearTransformation, Normalize

        if self.whitening is None:
            return Normalize(self.mean.tolist(), self.std.tolist())
        if len(shape) != 3:
            raise ValueError(
                f"normalization() has no torchvision transform for whitened samples of shape {shape}. Use "
                "metadata.space.standardize(samples)."
            )
        return LinearTransformation(*self.as_linear_map(shape))

    def _like(self, values: Tensor, samples: Tensor) -> Tensor:
        return to_device(values, samples.device).view(1, -1, *[1] * (samples.dim() - 2))
