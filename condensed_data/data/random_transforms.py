"""torchvision datasets with random transforms, the commonest training script.

A sample that differs at every read cannot be condensed. The random transforms are taken out of a shallow copy
of the dataset, and applied to the condensed samples instead: those that act there as they act in the source.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import ConcatDataset, Subset

from condensed_data.core.rng import preserve_rng_state
from condensed_data.data.sample import SourceError

# They move or mix pixels of one channel, whatever their values stand for.
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
# They want 8-bit pixels or floats in [0, 1], and clamp what is outside.
_PIXEL_VALUES = {
    "ColorJitter",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomGrayscale",
    "RandomInvert",
}
_KEEP_VALUES = {"CenterCrop", "Pad", "Resize"}
_GIVE_PIXELS = {"PILToTensor", "ToImage", "ToTensor"}
_OTHER_RANDOM = {"AugMix", "AutoAugment", "ColorJitter", "GaussianNoise", "RandAugment", "TrivialAugmentWide"}

_REMEDY = "Leave it out of the source and pass a full pipeline as CondensedDataset(..., transform=...)."


def without_random_transforms(dataset: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    """A shallow copy of a torchvision dataset (or a subset of one) without its random transforms, and these.

    Raises:
        SourceError: for random transforms that would not do the same to a condensed sample, and for
            concatenated datasets with random transforms, which may differ between the parts.
    """
    if isinstance(dataset, Subset):
        inner, random = without_random_transforms(dataset.dataset)
        if random is None:
            return dataset, None
        twin = copy.copy(dataset)
        twin.dataset = inner
        return twin, random
    if isinstance(dataset, ConcatDataset) and any(without_random_transforms(d)[1] for d in dataset.datasets):
        raise SourceError(
            "source concatenates datasets with random transforms. Give them none and pass the random ones as "
            "CondensedDataset(..., transform=...)."
        )
    return _without(dataset)


def check_applies(random: Callable[[Any], Any], sample: Any) -> None:
    """Refuse random transforms that fail on what the source yields without them.

    Raises:
        SourceError: with the reason.
    """
    try:
        with preserve_rng_state():
            random(sample)
    except Exception as error:
        raise SourceError(
            f"source.transform holds a random transform that does not take what its others give: {error}. "
            + _REMEDY
        ) from error


def _without(dataset: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    steps = list(_flat(getattr(dataset, "transform", None)))
    random = [step for step in steps if _is_random(step)]
    if not random:
        return dataset, None
    from torchvision.datasets.vision import StandardTransform
    from torchvision.transforms import Compose

    for number, step in enumerate(steps):
        if _is_random(step):
            later = (step for step in steps[number + 1 :] if not _is_random(step))
            _check_values(step, {type(step).__name__ for step in later})
    fixed = [one for step in steps for one in ([step] if not _is_random(step) else _same_size(step))]
    twin = copy.copy(dataset)
    twin.transform = Compose(fixed) if fixed else None
    if hasattr(twin, "transforms"):
        twin.transforms = StandardTransform(twin.transform, getattr(twin, "target_transform", None))
    return twin, Compose(random)


def _flat(transform: Any) -> Iterator[Any]:
    """The steps of a torchvision transform; anything else is one step."""
    if _is_torchvision(transform) and type(transform).__name__ == "Compose":
        for step in transform.transforms:
            yield from _flat(step)
    else:
        yield transform


def _is_torchvision(step: Any) -> bool:
    return type(step).__module__.startswith("torchvision.transforms")


def _is_random(step: Any) -> bool:
    name = type(step).__name__
    return _is_torchvision(step) and (name.startswith("Random") or name in _ANY_VALUES | _OTHER_RANDOM)


def _same_size(step: Any) -> list[Any]:
    """What gives the shape that a random crop would have given."""
    from torchvision.transforms import CenterCrop, Resize

    makers: dict[str, Callable[[Any], Any]] = {"RandomResizedCrop": Resize, "RandomCrop": CenterCrop}
    maker = makers.get(type(step).__name__)
    return [maker(step.size)] if maker else []


def _check_values(step: Any, later: set[str]) -> None:
    """Refuse a step that looks at pixel values, where fixed steps after it give them another meaning."""
    if type(step).__name__ in {"RandomApply", "RandomChoice", "RandomOrder"}:
        for inner in step.transforms:
            _check_values(inner, later)
        return
    name, changes = type(step).__name__, later - _KEEP_VALUES
    if name in _ANY_VALUES or (name in _PIXEL_VALUES and changes <= _GIVE_PIXELS):
        return
    if changes:
        raise SourceError(
            f"source.transform holds {name} before {', '.join(sorted(changes))}: applied after that, to a "
            f"condensed sample, it would do something else. {_REMEDY}"
        )
