"""Random small sources for property tests, and what a naive reading of them gives.

A `Plan` holds plain values, so that a failing example prints as what builds it. Letters: n samples, K classes, C
channels, H, W, L, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from torchvision.transforms import CenterCrop, Compose, Normalize, PILToTensor, Resize, ToTensor, v2

PIL_MODES = {"pil:L": 1, "pil:RGB": 3, "pil:RGBA": 4}
FLOATS = ("tensor:float16", "tensor:bfloat16", "tensor:float32", "tensor:float64")
KINDS = (*PIL_MODES, "tensor:uint8", *FLOATS)
LABEL_TYPES: dict[str, Callable[[int], Any]] = {
    "int": int,
    "numpy": np.int64,
    "numpy32": np.int32,
    "tensor": torch.tensor,
    "array": lambda value: np.array(value),
}
# deterministic transforms of PIL images; the last ones change the kind
TRANSFORMS: dict[str, Any] = {
    "resize": Resize((6, 7)),
    "crop": CenterCrop((4, 5)),
    "to_tensor": ToTensor(),
    "to_uint8": PILToTensor(),
    "normalize": Compose([ToTensor(), Normalize([0.4], [0.3])]),
    "v2": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]),
    "v2_half": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float16, scale=True), v2.ToPureTensor()]),
}


class Items(Dataset[Any]):
    """A user's own dataset: samples and labels in lists, `transform` applied on access."""

    def __init__(self, samples: Sequence[Any], labels: Sequence[Any], transform: Any = None) -> None:
        self.samples, self.labels, self.transform = samples, labels, transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        sample = self.samples[index]
        return sample if self.transform is None else self.transform(sample), self.labels[index]


@dataclass(frozen=True)
class Plan:
    """How a source is built."""

    kind: str
    shape: tuple[int, ...]  # (C, H, W), (C, L) or (D,)
    label_of_class: tuple[int, ...]  # K label values, in any order
    counts: tuple[int, ...]  # samples of each class, before the wrapper
    label_type: str
    transform: str | None
    named: bool  # whether the dataset has `classes`
    wrapper: str
    container: str  # "items" or "tensors"
    scale: float  # of float samples
    offset: float
    grouped: bool
    seed: int

    def build(self) -> Dataset[Any]:
        """The source."""
        rng = np.random.default_rng(self.seed)
        labels = [value for value, count in zip(self.label_of_class, self.counts, strict=True) for _ in range(count)]
        order = rng.permutation(len(labels)).tolist()
        labels = [labels[i] for i in order]
        samples = [self._sample(rng) for _ in labels]
        inner: Any
        if self.container == "tensors":
            inner = TensorDataset(torch.stack(samples), torch.tensor(labels))
        else:
            convert = LABEL_TYPES[self.label_type]
            inner = Items(samples, [convert(y) for y in labels], TRANSFORMS.get(self.transform or ""))
        if self.named:
            inner.classes = [f"name {label}" for label in range(max(labels) + 1)]
        return self._wrap(inner, rng)

    def groups(self, source: Dataset[Any]) -> list[str] | None:
        """An attribute of every sample, if the plan has one: two values in every class, or one for all samples."""
        if not self.grouped:
            return None
        labels = [label for _, label in naive_rows(source)]
        names = "ab" if min(labels.count(label) for label in labels) > 1 else "a"
        return [names[labels[:index].count(label) % len(names)] for index, label in enumerate(labels)]

    def _sample(self, rng: np.random.Generator) -> Any:
        if self.kind in PIL_MODES:
            channels, height, width = self.shape
            pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
            return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
        if self.kind == "tensor:uint8":
            return torch.from_numpy(rng.integers(0, 256, self.shape, dtype=np.uint8))
        values = (torch.from_numpy(rng.standard_normal(self.shape)) + self.offset) * self.scale
        return values.to(getattr(torch, self.kind.removeprefix("tensor:")))

    def _wrap(self, inner: Any, rng: np.random.Generator) -> Dataset[Any]:
        n = len(inner)
        if self.wrapper == "subset":
            return Subset(inner, _leave_one_out(inner, rng))
        if self.wrapper == "nested":
            return Subset(Subset(inner, rng.permutation(n).tolist()), list(range(n - 1, -1, -1)))
        if self.wrapper == "repeated":
            return Subset(inner, [*range(n), *range(n), 0])
        if self.wrapper == "concat":
            return ConcatDataset([inner, Subset(inner, list(range(n)))])
        return inner


def _leave_one_out(dataset: Any, rng: np.random.Generator) -> list[int]:
    """All rows in a random order, without those of one class if there are more than two."""
    labels = [int(dataset[i][1]) for i in range(len(dataset))]
    left_out = {min(labels)} if len(set(labels)) > 2 else set()
    return [i for i in rng.permutation(len(labels)).tolist() if labels[i] not in left_out]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of sources with 2 to 4 classes."""
    kind = draw(st.sampled_from(KINDS))
    side = st.integers(5, 9)
    if kind in PIL_MODES:
        shape: tuple[int, ...] = (PIL_MODES[kind], draw(side), draw(side))
    else:
        image = st.tuples(st.integers(1, 5), side, side)
        signal = st.tuples(st.integers(1, 4), st.integers(10, 20))
        shape = draw(st.one_of(image, signal, st.tuples(st.integers(3, 20))))
    values = st.one_of(st.integers(0, 3), st.integers(0, 30), st.integers(2**40, 2**62))
    classes = draw(st.lists(values, min_size=2, max_size=4, unique=True))
    counts = draw(st.lists(st.integers(1, 6), min_size=len(classes), max_size=len(classes)))
    small = max(classes) <= 30
    return Plan(
        kind,
        shape,
        tuple(classes),
        tuple(counts),
        draw(st.sampled_from([name for name in LABEL_TYPES if small or name != "numpy32"])),
        draw(st.sampled_from([None, *TRANSFORMS])) if kind in PIL_MODES else None,
        draw(st.booleans()) and small,
        draw(st.sampled_from(["none", "subset", "nested", "repeated", "concat"])),
        "items" if kind in PIL_MODES else draw(st.sampled_from(["items", "tensors"])),
        draw(st.sampled_from([1e-3, 1.0, 100.0])),
        draw(st.sampled_from([0.0, 0.5, -3.0])),
        draw(st.booleans()),
        draw(st.integers(0, 1000)),
    )


def naive_rows(dataset: Any) -> list[tuple[Any, int]]:
    """Samples and labels by a plain loop."""
    return [(dataset[i][0], int(dataset[i][1])) for i in range(len(dataset))]


def naive_values(sample: Any) -> Tensor:
    """A sample in the source's value space as documented: PIL images in [0, 1], tensors as they are; float32."""
    if isinstance(sample, Image.Image):
        pixels = torch.from_numpy(np.array(sample).astype(np.float32) / np.float32(255))
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return sample.to(torch.float32)


def naive_type(sample: Any) -> tuple[object, ...]:
    """What two samples of one kind have in common."""
    if isinstance(sample, Image.Image):
        return Image.Image, sample.mode, sample.size
    return Tensor, sample.dtype, tuple(sample.shape)


def same_sample(one: Any, other: Any) -> bool:
    """Whether two samples are of one kind and hold the same values."""
    return naive_type(one) == naive_type(other) and torch.equal(naive_values(one), naive_values(other))


def naive_names(source: Any, label: int) -> set[str]:
    """What a label may be called: its name in the dataset below subsets; concatenations may drop names."""
    if isinstance(source, Subset):
        return naive_names(source.dataset, label)
    if isinstance(source, ConcatDataset):
        return {str(label)}.union(*(naive_names(part, label) for part in source.datasets))
    return {source.classes[label] if hasattr(source, "classes") else str(label)}
