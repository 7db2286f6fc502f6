"""What a dataset yields, checked before any long work, and read once.

Any map-style torch Dataset of (sample, integer label) is a source. Samples are PIL images or tensors of one shape:
images (C, H, W), signals (C, L) or vectors (D,).
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from tqdm.auto import tqdm

from condensed_data.space import PIL_CHANNELS, Kind
from condensed_data.streams import untouched


class SourceError(ValueError):
    """A source, or one of its samples, that cannot be condensed; the message says why and what to do."""


@dataclass(frozen=True)
class Source:
    """A dataset that passed the checks.

    Attributes:
        dataset: without its random transforms.
        kind: what its samples are.
        random: the random transforms that were taken out, applied to the condensed samples instead, or None.
        name: the dataset's class name, looking through subsets.
        class_names: from the dataset's `classes`, or None.
    """

    dataset: Dataset[Any]
    kind: Kind
    random: Callable[[Any], Any] | None
    name: str
    class_names: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]


def inspect(dataset: Any) -> Source:
    """Check a dataset by its first samples.

    Raises:
        SourceError: if it is empty or not map-style; if samples are not (sample, label), are of an unsupported
            kind, or differ between two reads; if labels are not single non-negative integers.
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise SourceError(
            f"source is a {type(dataset).__name__}, which has no samples by index. Collect it into a map-style "
            "dataset first, for instance TensorDataset(images, labels)."
        )
    if not hasattr(dataset, "__len__"):
        raise SourceError(f"source is a {type(dataset).__name__} without a length: give it a __len__.")
    if len(dataset) == 0:
        raise SourceError("source is empty: there is nothing to condense.")
    plain, random = without_random_transforms(dataset)
    sample, label = _split(_fetch(plain, 0), 0)
    kind = _kind(sample, 0)
    check_label(label, 0)
    _check_repeatable(plain, kind)
    if random is not None:
        _check_applies(random, kind.emit(_to_tensor(sample, 0).float() / (255 if kind.is_pil else 1)))
    root = _root(dataset)
    names = getattr(root, "classes", None)
    class_names = tuple(map(str, names)) if isinstance(names, list | tuple) else None
    return Source(plain, kind, random, type(root).__name__, class_names)


def read(source: Source, num_workers: int = 0, progress: bool = True) -> tuple[Tensor, Tensor]:
    """All samples, read once: (n, *shape) uint8 (PIL and uint8 tensors) or float32, and labels (n,) int64.

    Raises:
        SourceError: naming the index of a sample that cannot be read, has another shape or holds NaN, or of a
            label that is no non-negative integer.
    """
    if type(source.dataset) is TensorDataset:
        return _read_tensors(source)
    loader = DataLoader(
        _Reader(source.dataset, source.kind),
        batch_size=256,
        num_workers=num_workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # without one, a loader draws from the global generator
    )
    count = len(source)
    samples = torch.empty((count, *source.kind.shape), dtype=torch.uint8 if source.kind.eight_bit else torch.float32)
    labels = torch.empty(count, dtype=torch.int64)
    done = 0
    with tqdm(total=count, desc=f"reading {source.name}", unit=" samples", disable=not progress) as bar:
        for rows, values in loader:
            _check_finite(rows, done)
            samples[done : done + len(rows)], labels[done : done + len(rows)] = rows, values
            done += len(rows)
            bar.update(len(rows))
    return samples, labels


def without_random_transforms(dataset: Any) -> tuple[Any, Callable[[Any], Any] | None]:
    """A shallow copy of a torchvision dataset (or a subset of one) without its random transforms, and these.

    Raises:
        SourceError: for concatenated datasets with random transforms, which may differ between the parts.
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
    fixed, random_parts = _divide(getattr(dataset, "transform", None))
    if not random_parts:
        return dataset, None
    from torchvision.datasets.vision import StandardTransform
    from torchvision.transforms import Compose

    twin = copy.copy(dataset)
    twin.transform = Compose(fixed) if fixed else None
    if hasattr(twin, "transforms"):
        twin.transforms = StandardTransform(twin.transform, getattr(twin, "target_transform", None))
    return twin, Compose(random_parts)


def _divide(transform: Any) -> tuple[list[Any], list[Any]]:
    """Deterministic and random members of a torchvision transform."""
    if transform is None or not type(transform).__module__.startswith("torchvision.transforms"):
        return [transform], []
    from torchvision import transforms as v1

    steps = list(transform.transforms) if type(transform).__name__ == "Compose" else [transform]
    fixed: list[Any] = []
    random: list[Any] = []
    for step in steps:
        if not _is_random(step):
            fixed.append(step)
            continue
        random.append(step)
        if type(step).__name__ == "RandomResizedCrop":
            fixed.append(v1.Resize(step.size))  # the shape that the random crop would have given
        elif type(step).__name__ == "RandomCrop":
            fixed.append(v1.CenterCrop(step.size))
    return fixed, random


def _is_random(step: Any) -> bool:
    name = type(step).__name__
    others = {"ColorJitter", "AutoAugment", "TrivialAugmentWide", "RandAugment", "AugMix", "ElasticTransform"}
    module = type(step).__module__.startswith("torchvision.transforms")
    return module and (name.startswith("Random") or name in others or name in {"GaussianBlur", "GaussianNoise"})


def _check_applies(random: Callable[[Any], Any], sample: Any) -> None:
    try:
        with untouched():
            random(sample)
    except Exception as error:
        raise SourceError(
            f"source.transform holds random transforms that do not take what comes out of its others: {error}. "
            "Leave them out of the source and pass a full pipeline as CondensedDataset(..., transform=...)."
        ) from error


def _check_repeatable(dataset: Any, kind: Kind) -> None:
    count = len(dataset)
    for index in sorted({0, count // 3, count // 2, count - 1}):
        first, second = (_to_tensor(_split(_fetch(dataset, index), index)[0], index) for _ in range(2))
        if first.shape != second.shape or not torch.equal(first.nan_to_num(), second.nan_to_num()):
            raise SourceError(
                f"source yields another sample {index} at every read, so there is nothing fixed to condense. "
                "Remove its random transforms and pass them as CondensedDataset(..., transform=...), or condense "
                "a copy that is read once, such as TensorDataset(images, labels)."
            )


def _root(dataset: Any) -> Any:
    return _root(dataset.dataset) if isinstance(dataset, Subset) else dataset


def _fetch(dataset: Any, index: int) -> Any:
    try:
        return dataset[index]
    except Exception as error:
        raise SourceError(f"source[{index}] cannot be read: {type(error).__name__}: {error}") from error


def _split(item: Any, index: int) -> tuple[Any, Any]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        what = f"{type(item).__name__} of {len(item)}" if hasattr(item, "__len__") else type(item).__name__
        raise SourceError(f"source[{index}] is a {what}, not a pair (sample, label). Wrap the dataset to yield pairs.")
    return item[0], item[1]


def check_label(label: Any, index: int) -> int:
    """The label as an int.

    Raises:
        SourceError: unless it is one non-negative integer (Python, NumPy or a tensor with one element).
    """
    supported = "Supported labels are single non-negative integers (int, NumPy integer or 0-d integer tensor)."
    value = label
    if isinstance(label, Tensor | np.ndarray | np.generic):
        if np.ndim(label) > 0 if not isinstance(label, Tensor) else label.dim() > 0:
            raise SourceError(f"source[{index}] has a label of shape {tuple(label.shape)}. {supported}")
        value = label.item()
    try:
        number = operator.index(value)
    except TypeError:
        raise SourceError(f"source[{index}] has the label {value!r} ({type(label).__name__}). {supported}") from None
    if number < 0:
        raise SourceError(f"source[{index}] has the label {number}. {supported}")
    return number


def _kind(sample: Any, index: int) -> Kind:
    if isinstance(sample, Image.Image):
        if sample.mode not in PIL_CHANNELS:
            raise SourceError(
                f"source[{index}] is a PIL image of mode {sample.mode!r}; supported: {', '.join(PIL_CHANNELS)}. "
                "Add transforms.Lambda(lambda image: image.convert('RGB'))."
            )
        return Kind(f"pil:{sample.mode}", (PIL_CHANNELS[sample.mode], sample.height, sample.width))
    if not isinstance(sample, Tensor):
        raise SourceError(
            f"source[{index}] has a sample of type {type(sample).__name__}; supported: PIL images and tensors. "
            "Add transforms.ToTensor() or torch.from_numpy."
        )
    if not (sample.is_floating_point() or sample.dtype == torch.uint8):
        raise SourceError(f"source[{index}] is a {sample.dtype} tensor; supported: floating point and uint8.")
    if not 1 <= sample.dim() <= 3 or sample.numel() == 0:
        raise SourceError(
            f"source[{index}] has the shape {tuple(sample.shape)}; supported: (C, H, W), (C, L) and (D,), not empty."
        )
    return Kind(f"tensor:{str(sample.dtype).removeprefix('torch.')}", tuple(sample.shape))


def _to_tensor(sample: Any, index: int) -> Tensor:
    if isinstance(sample, Image.Image):
        pixels = np.array(sample)
        return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())
    _kind(sample, index)
    return sample if sample.dtype == torch.uint8 else sample.float()


class _Reader(Dataset[tuple[Tensor, int]]):
    """Checks every sample where it is read, so that a worker can name the index."""

    def __init__(self, dataset: Any, kind: Kind) -> None:
        self.dataset, self.kind = dataset, kind

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample, label = _split(_fetch(self.dataset, index), index)
        kind = _kind(sample, index)
        if kind != self.kind:
            raise SourceError(
                f"source[{index}] is {kind.name} {kind.shape}, but source[0] is {self.kind.name} {self.kind.shape}. "
                "Bring all samples to one shape: transforms.Resize((H, W)), or --image-size N on the command line."
            )
        return _to_tensor(sample, index), check_label(label, index)


def _collate(items: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    return torch.stack([item[0] for item in items]), torch.tensor([item[1] for item in items])


def _check_finite(rows: Tensor, first: int) -> None:
    if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
        bad = first + int((~torch.isfinite(rows.flatten(1)).all(1)).nonzero()[0])
        raise SourceError(f"source[{bad}] holds NaN or infinite values. Remove or repair that sample.")


def _read_tensors(source: Source) -> tuple[Tensor, Tensor]:
    samples, labels = source.dataset.tensors  # type: ignore[attr-defined]
    samples = samples.detach().cpu()
    if not source.kind.eight_bit:
        samples = samples.float()
        _check_finite(samples, 0)
    if labels.is_floating_point() or labels.dim() != 1:
        check_label(labels[0], 0)
    labels = labels.detach().cpu().long()
    if bool((labels < 0).any()):
        index = int((labels < 0).nonzero()[0])
        check_label(labels[index], index)
    return samples, labels
