"""Separates random transforms from torchvision datasets, as most training scripts have them.

A sample that differs between reads cannot be condensed. The random transforms are removed from a shallow copy of the
dataset and applied to the condensed samples instead, if they have the same effect there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import ConcatDataset, Subset

from condensed_data.core.rng import preserve_rng_state
from condensed_data.data.sample import SourceError

# They move or mix pixels of one channel, whatever the values mean.
_ANY_VALUES = {
    "ElasticTransform",
    "GaussianBlur",
    "RandomAffine",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "RandomZoomOut",
}
# They expect 8-bit pixels or floats in [0, 1], and clamp other values.
_PIXEL_VALUES = {"ColorJitter", "RandomAdjustSharpness", "RandomAutocontrast", "RandomGrayscale", "RandomInvert"}
_KEEP_VALUES = {"CenterCrop", "Pad", "Resize"}
_GIVE_PIXELS = {"PILToTensor", "ToImage", "ToTensor"}
_OTHER_RANDOM = {"AugMix", "AutoAugment", "ColorJitter", "GaussianNoise", "RandAugment", "TrivialAugmentWide"}

_REMEDY = "Remove it from the source and pass the full pipeline as CondensedDataset(..., transform=...)."


def without_random_transforms(dataset: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    """Split a torchvision dataset (or a subset of one) into a shallow copy without random transforms, and these.

    The dataset itself and None are returned if it has none. Random transforms that would have another effect on a
    condensed sample raise SourceError, and so do concatenated datasets with random transforms, which may differ between
    the parts.
    """
    if isinstance(dataset, Subset):
        inner, random = without_random_transforms(dataset.dataset)
        if random is None:
            return dataset, None
        copied = copy.copy(dataset)
        copied.dataset = inner
        return copied, random
    if isinstance(dataset, ConcatDataset) and any(without_random_transforms(d)[1] for d in dataset.datasets):
        raise SourceError(
            "source concatenates datasets with random transforms. Remove the random transforms and pass them as "
            "CondensedDataset(..., transform=...)."
        )
    return _without(dataset)


def check_applies(random: Callable[[Any], Any], sample: Any) -> None:
    """Raise SourceError unless random transforms accept a sample that the source yields without them."""
    try:
        with preserve_rng_state():
            random(sample)
    except Exception as error:
        raise SourceError(
            f"A random transform in source.transform fails on the output of the other transforms: {error}. {_REMEDY}"
        ) from error


def _without(dataset: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    steps = list(_flatten(getattr(dataset, "transform", None)))
    random = [step for step in steps if _is_random(step)]
    if not random:
        return dataset, None
    from torchvision.datasets.vision import StandardTransform
    from torchvision.transforms import Compose

    for number, step in enumerate(steps):
        if _is_random(step):
            later = (step for step in steps[number + 1 :] if not _is_random(step))
            _check_values(step, {type(step).__name__ for step in later})
    fixed = [kept for step in steps for kept in (_fixed_crop(step) if _is_random(step) else [step])]
    copied = copy.copy(dataset)
    copied.transform = Compose(fixed) if fixed else None
    if hasattr(copied, "transforms"):
        copied.transforms = StandardTransform(copied.transform, getattr(copied, "target_transform", None))
    return copied, Compose(random)


def _flatten(transform: Any) -> Iterator[Any]:
    """The steps of a torchvision transform; anything else is one step."""
    if _is_torchvision(transform) and type(transform).__name__ == "Compose":
        for step in transform.transforms:
            yield from _flatten(step)
    else:
        yield transform


def _is_torchvision(step: Any) -> bool:
    return type(step).__module__.startswith("torchvision.transforms")


def _is_random(step: Any) -> bool:
    name = type(step).__name__
    return _is_torchvision(step) and (name.startswith("Random") or name in _ANY_VALUES | _OTHER_RANDOM)


def _fixed_crop(step: Any) -> list[Any]:
    """A deterministic transform with the output shape of a random crop; empty for other transforms."""
    from torchvision.transforms import CenterCrop, Resize

    fixed: dict[str, Callable[[Any], Any]] = {"RandomResizedCrop": Resize, "RandomCrop": CenterCrop}
    cls = fixed.get(type(step).__name__)
    return [cls(step.size)] if cls else []


def _check_values(step: Any, later: set[str]) -> None:
    """Refuse a random step that depends on pixel values if later fixed steps change their range."""
    if type(step).__name__ in {"RandomApply", "RandomChoice", "RandomOrder"}:
        for inner in step.transforms:
            _check_values(inner, later)
        return
    name, changes = type(step).__name__, later - _KEEP_VALUES
    if name in _ANY_VALUES or (name in _PIXEL_VALUES and changes <= _GIVE_PIXELS):
        return
    if changes:
        raise SourceError(
            f"source.transform contains {name} before {', '.join(sorted(changes))}. Applied to a condensed sample, "
            f"which is after these, it would have another effect. {_REMEDY}"
        )
