"""Recognizes images whose axes are not (C, H, W), which would silently be taken for signals or for other channels.

A dataset states that its axes are right by an attribute: `sample_axes = "CL"` for signals of C channels, or
`sample_axes = "CHW"` for images. Subsets and concatenations take it from the datasets below them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from torch.utils.data import ConcatDataset, Dataset, Subset

from condensed_data.core.errors import short_repr
from condensed_data.data.value_space import SampleKind

D = TypeVar("D", bound=Dataset[Any])

AXES = {2: "CL", 3: "CHW"}
_FEW = 8  # channels for which (C, L) is never questioned
_STEPS_PER_CHANNEL = 1.5
_SMALL_SIDE = 5  # smaller maps (C, H, W), such as features of a network, are never questioned


def layers(dataset: Any) -> Iterator[Any]:
    """The dataset, and those below it through `Subset` and `ConcatDataset`."""
    yield dataset
    if isinstance(dataset, Subset):
        yield from layers(dataset.dataset)
    elif isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from layers(part)


def state_axes(dataset: D, axes: str | None) -> D:
    """Set the `sample_axes` of a dataset, unless they are None."""
    if axes is not None:
        dataset.sample_axes = axes  # type: ignore[attr-defined]
    return dataset


def axes_error(dataset: Any, kind: SampleKind) -> str | None:
    """What is wrong with the axes of a dataset's samples, and the remedy; None if nothing is.

    Questioned are, unless `sample_axes` is set:
    * (A, B) with at least 8 channels and fewer than 1.5 steps per channel: an image without a channel axis, or a
      signal (L, C). Usual signals, such as (12, 1000) or (64, 128), have more steps.
    * (H, W, 3) and (H, W, 4) of at least 5 x 5 pixels, and (H, W, 1) if no side is more than twice the other.
    """
    shape, expected = kind.shape, AXES.get(len(kind.shape))
    stated = next((axes for layer in layers(dataset) if (axes := getattr(layer, "sample_axes", None))), None)
    if stated is not None:
        if stated == expected:
            return None
        return f"has sample_axes={short_repr(stated)}, but samples of shape {shape}; supported: CL and CHW."
    if kind.is_pil:
        return None
    if len(shape) == 2 and shape[0] >= _FEW and shape[1] < _STEPS_PER_CHANNEL * shape[0]:
        return (
            f"has samples of shape {shape}, which is a signal of {shape[0]} channels. If they are images, add a "
            "channel axis: images.unsqueeze(1) for all of them, or image.unsqueeze(0) for one. If they are signals "
            "(L, C), use signal.T. If they are signals (C, L), set sample_axes = 'CL' on the dataset."
        )
    if is_channels_last(shape):
        return (
            f"has samples of shape {shape}, which is an image of {shape[0]} channels. If channels are last, use "
            "images.permute(0, 3, 1, 2) for all of them, or image.permute(2, 0, 1) for one. If they are first, set "
            "sample_axes = 'CHW' on the dataset."
        )
    return None


def is_channels_last(shape: Sequence[int]) -> bool:
    """Whether the shape looks like (H, W, C) instead of (C, H, W)."""
    if len(shape) != 3 or min(shape[:2]) < _SMALL_SIDE:
        return False
    return shape[2] in (3, 4) or (shape[2] == 1 and max(shape[:2]) <= 2 * min(shape[:2]))
