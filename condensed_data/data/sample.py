"""Checks of one dataset item: that it is a pair, that its sample can be condensed, that its label is a class index.

Samples are PIL images or tensors: images (C, H, W), signals (C, L) or vectors (D,).
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condensed_data.core.text import VisibleMessage
from condensed_data.data.value_space import PIL_CHANNELS, SampleKind

_LABELS = (
    "Supported labels are single non-negative integers (int, NumPy integer or 0-d tensor). Map others to class "
    "indices, for example with target_transform=."
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
    """The label as an int; SourceError unless it is one non-negative integer (Python, NumPy or a 0-d tensor)."""
    value = label
    if isinstance(label, Tensor | np.ndarray | np.generic):
        if label.ndim > 0:
            raise SourceError(f"source[{index}] has a label of shape {tuple(label.shape)}. {_LABELS}")
        value = label.item()
    try:
        number = operator.index(value)
    except TypeError:
        raise SourceError(f"source[{index}] has the label {value!r} ({type(label).__name__}). {_LABELS}") from None
    if not 0 <= number < 2**63:
        raise SourceError(f"source[{index}] has the label {number}. {_LABELS}")
    return number


def kind_of(sample: Any, index: int) -> SampleKind:
    """Type and shape of this sample; SourceError for an unsupported one."""
    if isinstance(sample, Image.Image):
        if sample.mode not in PIL_CHANNELS:
            raise SourceError(
                f"source[{index}] is a PIL image of mode {sample.mode!r}; supported: "
                f"{', '.join(PIL_CHANNELS)}. Add transforms.Lambda(lambda image: image.convert('RGB'))."
            )
        return SampleKind(f"pil:{sample.mode}", (PIL_CHANNELS[sample.mode], sample.height, sample.width))
    if not isinstance(sample, Tensor):
        raise SourceError(
            f"source[{index}] has a sample of type {type(sample).__name__}; supported: PIL images and "
            "tensors. Add transforms.ToTensor() or torch.from_numpy."
        )
    if not (sample.is_floating_point() or sample.dtype == torch.uint8):
        raise SourceError(
            f"source[{index}] is a {sample.dtype} tensor; supported: floating point and uint8. Add .float()."
        )
    if not 1 <= sample.dim() <= 3 or sample.numel() == 0:
        raise SourceError(
            f"source[{index}] has the shape {tuple(sample.shape)}; supported: (C, H, W), (C, L) and (D,), not empty."
        )
    return SampleKind(f"tensor:{str(sample.dtype).removeprefix('torch.')}", tuple(sample.shape))


def check_kind(sample: Any, kind: SampleKind, index: int) -> None:
    """Raise SourceError, with the remedy, for a sample of another shape, mode or dtype than the first one."""
    found = kind_of(sample, index)
    if found == kind:
        return
    remedy = "shape: transforms.Resize((H, W)), or --image-size N on the command line"
    if found.name != kind.name:
        remedy = "mode or dtype: transforms.Lambda(lambda image: image.convert('RGB')), or tensor.float()"
    raise SourceError(
        f"source[{index}] is {found.name} {found.shape}, but source[0] is {kind.name} {kind.shape}. "
        f"Convert all samples to one {remedy}."
    )


def to_tensor(sample: Any) -> Tensor:
    """Convert a supported sample to (*shape) uint8 (PIL images, uint8 tensors) or float32."""
    if isinstance(sample, Image.Image):
        pixels = np.array(sample)
        return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())
    tensor: Tensor = sample.detach()
    return tensor if tensor.dtype == torch.uint8 else tensor.float()
