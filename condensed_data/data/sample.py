"""Checks of one dataset item: that it is a pair, that its sample can be condensed, that its label is a class index.

Samples are PIL images or tensors: images (C, H, W), signals (C, L) or vectors (D,).
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condensed_data.core.errors import short_repr
from condensed_data.core.text import VisibleMessage
from condensed_data.data import axes, bit_depth
from condensed_data.data.value_space import PIL_CHANNELS, TENSOR_TYPES, SampleKind

_LABELS = (
    "Labels must be single non-negative integers. Convert them in the source (a target_transform= of the source "
    "dataset, not of CondensedDataset; or the labels of a TensorDataset):"
)
_WRAPPED = (
    " If ToTensor() made it from a 16-bit image, values above 32,767 have become negative: use "
    "torch.from_numpy(np.array(image, dtype=np.float32) / 65535)[None] instead of ToTensor()."
)


class SourceError(VisibleMessage, ValueError):
    """Raised for a source that cannot be condensed; the message names the reason and the remedy."""


class NoTestSplitError(SourceError):
    """Raised for a source without a test split."""


def fetch(dataset: Any, index: int) -> tuple[Any, Any]:
    """Sample and label of `dataset[index]`; SourceError if it raises, or yields anything but a pair."""
    try:
        item = dataset[index]
    except Exception as error:
        raise SourceError(f"source[{index}] cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        what = f"{type(item).__name__} of length {len(item)}" if hasattr(item, "__len__") else type(item).__name__
        raise SourceError(
            f"source[{index}] is a {what}, not a (sample, label) pair. Wrap the dataset so that it yields pairs."
        )
    return item[0], item[1]


def check_label(label: Any, index: int) -> int:
    """The label as an int; SourceError unless it is one non-negative integer.

    It may be a Python or NumPy integer, or a tensor, array or list that holds a single integer.
    """
    value = label
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, Tensor | np.ndarray | np.generic):
        shape = tuple(value.shape)
        if math.prod(shape) != 1:
            raise SourceError(f"source[{index}] has a label of shape {shape}. {_LABELS} {_vector_remedy(value)}")
        value = value.item()
    if type(value) is bool or not hasattr(value, "__index__"):
        what = f"the label {short_repr(value)} ({type(label).__name__})"
        raise SourceError(f"source[{index}] has {what}. {_LABELS} {_scalar_remedy(value)}")
    number = operator.index(value)
    if number < 0:
        raise SourceError(
            f"source[{index}] has the label {number}. Labels must be non-negative; negative ones often mark unlabeled "
            "samples. Leave these out with torch.utils.data.Subset, or convert labels in the source dataset."
        )
    if number >= 2**63:
        raise SourceError(f"source[{index}] has the label {number}. {_LABELS} number the classes from 0.")
    return number


def label_values(labels: Tensor) -> Tensor:
    """The labels of a `TensorDataset`, (n,) or (n, 1), as (n,) int64; SourceError as in `check_label`."""
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool or labels.numel() != len(labels):
        check_label(labels[0], 0)  # raises
    values = labels.detach().cpu().flatten().long()
    for index in (values < 0).nonzero().flatten()[:1].tolist():
        check_label(values[index], index)  # raises
    return values


def _vector_remedy(label: Any) -> str:
    values = torch.as_tensor(label).flatten()
    if values.is_complex() or not bool(((values == 0) | (values == 1)).all()) or int(values.sum()) != 1:
        return "choose one class per sample, such as int(label.argmax()) for scores."
    return "this one is one-hot; use int(label.argmax()), or labels.argmax(1) for all."


def _scalar_remedy(value: Any) -> str:
    if isinstance(value, str | bytes):
        return "number the classes, such as names.index(label) for a sorted list of names."
    if isinstance(value, list | tuple) and value:
        return "choose one class per sample, such as label.index(max(label)) for one-hot labels."
    if isinstance(value, bool | float) and value == value // 1:
        return "use int(label), or labels.long() for all."
    if isinstance(value, float):
        return "a number to predict has no classes; divide its range, such as int(label > 0.5)."
    return "yield the number of the class."


def kind_of(sample: Any, index: int) -> SampleKind:
    """Type and shape of this sample; SourceError for an unsupported one."""
    if isinstance(sample, Image.Image):
        if sample.mode not in PIL_CHANNELS:
            raise SourceError(
                f"source[{index}] is a PIL image of mode {sample.mode!r}; supported: {', '.join(PIL_CHANNELS)}. Begin "
                f"the source's transforms with transforms.Lambda(lambda image: {bit_depth.remedy(sample)})."
            )
        return SampleKind(f"pil:{sample.mode}", (PIL_CHANNELS[sample.mode], sample.height, sample.width))
    if not isinstance(sample, Tensor):
        raise SourceError(
            f"source[{index}] has a sample of type {type(sample).__name__}; supported: PIL images and "
            f"tensors. {_conversion_remedy(sample)}"
        )
    dtype = str(sample.dtype).removeprefix("torch.")
    if dtype not in TENSOR_TYPES or sample.layout != torch.strided:
        raise SourceError(
            f"source[{index}] is a {sample.dtype} tensor of layout {sample.layout}; supported: dense ones of "
            f"{', '.join(TENSOR_TYPES)}. Convert it in the source: {_tensor_remedy(sample)}"
        )
    if not 1 <= sample.dim() <= 3 or sample.numel() == 0:
        raise SourceError(
            f"source[{index}] has the shape {tuple(sample.shape)}; supported: (C, H, W), (C, L) and (D,), not empty."
        )
    return SampleKind(f"tensor:{dtype}", tuple(sample.shape))


def _conversion_remedy(sample: Any) -> str:
    if not isinstance(sample, np.ndarray):
        return "Add a transform that converts it to one of these, such as torch.tensor."
    if axes.is_channels_last(sample.shape):
        return "This is an image with its channels last: use torch.from_numpy(sample).permute(2, 0, 1)."
    image = "[None] for an image (H, W), which needs a channel axis, or " if sample.ndim == 2 else ""
    plain = "torch.from_numpy(sample)"
    return f"Use {plain}{image}{plain + ' for a signal (C, L)' if image else ''}."


def _tensor_remedy(sample: Tensor) -> str:
    if sample.layout != torch.strided:
        return "sample.to_dense()."
    if sample.is_complex():
        return "torch.cat([sample.real, sample.imag]), which doubles the channels."
    if sample.is_quantized:
        return "sample.dequantize()."
    return f"sample.float().{_WRAPPED if sample.dtype == torch.int16 and sample.dim() == 3 else ''}"


def check_kind(sample: Any, kind: SampleKind, index: int) -> None:
    """Raise SourceError, with the remedy, for a sample of another shape, mode or dtype than the first one."""
    found = kind_of(sample, index)
    if found == kind:
        return
    remedy = "shape: transforms.Resize((H, W)) or --image-size N for images, padding or cropping for signals"
    if found.is_pil and kind.is_pil and found.name != kind.name:
        remedy = "mode: transforms.Lambda(lambda image: image.convert('RGB'))"
    elif found.is_pil != kind.is_pil:
        remedy = "kind, with ToTensor() for all PIL images"
    elif found.eight_bit != kind.eight_bit:
        remedy = "dtype and range of values: sample.float() / 255 for uint8 if the others are in [0, 1]"
    elif found.name != kind.name:
        remedy = "dtype: sample.float()"
    raise SourceError(
        f"source[{index}] is {found.name} {found.shape}, but source[0] is {kind.name} {kind.shape}. "
        f"Convert all samples to one {remedy}."
    )


class Variation:
    """Notices whether all of `count` samples are identical, which cannot be condensed."""

    def __init__(self, count: int) -> None:
        self.count, self.varies = count, count == 1
        self.first: Tensor | None = None

    def update(self, samples: Tensor) -> None:
        """Add samples (B, *shape)."""
        if self.first is None:
            self.first = samples[0].clone()
        self.varies = self.varies or not torch.equal(samples, self.first.expand_as(samples))

    def check(self) -> None:
        """Raise SourceError if no sample differs from the first one."""
        if not self.varies and self.first is not None:
            values = self.first.unique()
            what = f"every value is {float(values[0]):g}" if len(values) == 1 else "only the labels may differ"
            raise SourceError(
                f"All {self.count} samples of the source are identical: {what}. Look at what it yields: for example, "
                "16-bit images become white if they are converted without scaling."
            )


def to_tensor(sample: Any) -> Tensor:
    """Convert a supported sample to (*shape) uint8 (PIL images, uint8 tensors) or float32."""
    if isinstance(sample, Image.Image):
        pixels = np.array(sample)
        return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())
    tensor: Tensor = sample.detach()
    return tensor if tensor.dtype == torch.uint8 else tensor.float()
