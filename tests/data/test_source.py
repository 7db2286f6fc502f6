"""Sources: supported datasets, errors before any long computation, and reading each sample once."""

from __future__ import annotations

import random
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sources import ListDataset, contents
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)

from condensed_data.data.batched_reads import second_reads
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect, read

Pair = namedtuple("Pair", "sample label")


def picture(mode: str = "RGB", size: tuple[int, int] = (6, 5), seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def floats(count: int = 8, shape: tuple[int, ...] = (1, 4, 4)) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


def listed(samples: Any, labels: Any = None) -> ListDataset:
    return ListDataset(list(zip(samples, [0] * len(samples) if labels is None else labels, strict=True)))


def read_error(dataset: Any) -> str:
    """The error of reading a dataset; it is the same with and without workers."""
    errors = []
    for workers in (0, 2):
        with pytest.raises(SourceError) as error:
            read(inspect(dataset, workers), progress=False)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    return errors[0]


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_pil_images(mode: str, channels: int) -> None:
    images = [picture(mode, seed=seed) for seed in range(3)]
    source = inspect(listed(images, [2, 0, 2]))
    assert source.kind.name == f"pil:{mode}"
    assert source.kind.shape == (channels, 5, 6)
    samples, labels = contents(source)
    assert samples.dtype == torch.uint8
    assert labels.tolist() == [2, 0, 2]
    for image, sample in zip(images, samples, strict=True):
        assert np.array_equal(np.array(image).reshape(5, 6, channels), sample.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 7), (2, 9), (6,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8])
def test_tensors_of_any_shape_and_dtype(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    stored = (floats(5, shape) * 200).to(dtype)
    for dataset in (TensorDataset(stored, torch.arange(5)), listed(stored, range(5))):
        source = inspect(dataset)
        assert source.kind.name == f"tensor:{str(dtype).removeprefix('torch.')}"
        assert source.kind.shape == shape
        samples, labels = contents(source)
        assert samples.dtype == (torch.uint8 if dtype == torch.uint8 else torch.float32)
        assert torch.equal(samples, stored.to(samples.dtype))
        assert labels.tolist() == list(range(5))


def test_items_are_any_pair() -> None:
    for items in ([[sample, 1] for sample in floats(3)], [Pair(sample, 1) for sample in floats(3)]):
        assert contents(inspect(items))[1].tolist() == [1, 1, 1]


def test_common_pytorch_datasets_are_sources() -> None:
    base = TensorDataset(floats(8), torch.arange(8))
    first, second = random_split(base, [5, 3], torch.Generator().manual_seed(0))
    for dataset in (first, second, Subset(first, [1, 1, 0]), ConcatDataset([first, base])):
        samples, labels = contents(inspect(dataset))
        assert len(samples) == len(dataset)
        assert torch.equal(samples, base.tensors[0][labels])


def test_samples_that_require_gradients_are_read_without_them() -> None:
    samples = contents(inspect(listed(floats(3).requires_grad_())))[0]
    assert not samples.requires_grad


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_happens_once_and_in_order(workers: int) -> None:
    class Counting(ListDataset):
        reads = 0

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            return super().__getitem__(index)

    dataset = Counting(list(zip(floats(600), range(600), strict=True)))
    samples, labels = contents(inspect(dataset, workers))
    assert labels.tolist() == list(range(600))
    assert torch.equal(samples, floats(600))
    # in a worker, the copy of the dataset there counts
    assert dataset.reads == (8 + 600 + len(second_reads(600)) if workers == 0 else 0)


def test_reading_shows_progress(capfd: pytest.CaptureFixture[str]) -> None:
    source = inspect(listed(floats(3)))
    read(source, progress=True)
    assert "reading ListDataset: 100%" in capfd.readouterr().err
    read(source, progress=False)
    assert capfd.readouterr().err == ""


def test_reading_does_not_change_random_states(untouched_rng: None) -> None:
    for workers in (0, 2):
        contents(inspect(listed(floats(5)), workers))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Endless(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return torch.zeros(1), 0


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), r"source is a Stream, whose samples have no index\. Convert it"),
        (iter([(torch.zeros(1), 0)]), "whose samples have no index"),
        (DataLoader(TensorDataset(torch.zeros(2, 3))), r"Pass its dataset: loader\.dataset"),
        (Endless(), "source is a Endless without a length"),
        (ListDataset([]), "source is empty"),
        (
            ListDataset([torch.zeros(3)]),
            r"source\[0\] is a Tensor of length 3, not a \(sample, label\) pair\. Wrap",
        ),
        (ListDataset([5]), r"source\[0\] is a int, not a \(sample, label\) pair"),
        (TensorDataset(torch.zeros(2, 3)), r"source\[0\] is a tuple of length 1, not a"),
        (ListDataset([{"image": 1, "label": 2}]), r"source\[0\] is a dict of length 2, not a"),
        (ListDataset([(torch.zeros(3), 0, 1)]), r"source\[0\] is a tuple of length 3, not a"),
        (ListDataset([KeyError("lost")]), r"source\[0\] cannot be read: KeyError: 'lost'"),
    ],
)
def test_other_objects_are_refused(dataset: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        inspect(dataset)


def test_samples_of_another_shape_or_kind_are_named() -> None:
    ragged = [torch.zeros(3, 4, 4)] * 7 + [torch.zeros(3, 5, 4)] + [torch.zeros(3, 4, 4)]
    error = read_error(listed(ragged))
    assert error.startswith("source[7] is tensor:float32 (3, 5, 4), but source[0] is tensor:float32 (3, 4, 4).")
    assert "transforms.Resize((H, W)) or --image-size N" in error
    modes = [picture("RGB")] * 5 + [picture("L")] + [picture("RGB")]
    error = read_error(listed(modes))
    assert error.startswith("source[5] is pil:L (1, 5, 6), but source[0] is pil:RGB (3, 5, 6).")
    assert "convert('RGB')" in error


def test_a_last_sample_of_another_shape_is_detected_immediately() -> None:
    with pytest.raises(SourceError, match=r"source\[2\] is pil:RGB \(3, 5, 8\)"):
        inspect(listed([picture(), picture(), picture(size=(8, 5))]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_named(bad: float) -> None:
    samples = floats(300)
    samples[270, 0, 1, 2] = bad
    for dataset in (TensorDataset(samples, torch.zeros(300, dtype=torch.int64)), listed(samples)):
        assert read_error(dataset).startswith("source[270] contains NaN or infinite values. Remove or repair")
    samples[0] = bad
    assert read_error(listed(samples)).startswith("source[0] contains NaN")


def test_a_sample_that_cannot_be_read_is_named() -> None:
    items = [(sample, 0) for sample in floats(7)]
    items[5] = OSError("broken file")  # type: ignore[call-overload]
    assert read_error(ListDataset(items)) == "source[5] cannot be read: OSError: broken file"


def test_later_items_that_are_not_pairs_are_named() -> None:
    items = [(sample, 0) for sample in floats(7)]
    items[5] = floats(1)  # type: ignore[call-overload]
    assert read_error(ListDataset(items)).startswith("source[5] is a Tensor of length 1, not a (sample, label) pair")


class Noisy(ListDataset):
    """Adds noise of a global generator to some samples, as a random transform does."""

    def __init__(self, items: list[Any], library: str) -> None:
        super().__init__(items)
        self.library = library

    def __getitem__(self, index: int) -> Any:
        sample, label = super().__getitem__(index)
        draw = {"torch": lambda: float(torch.rand(())), "numpy": np.random.rand, "random": random.random}
        return sample + draw[self.library](), label


@pytest.mark.parametrize("library", ["torch", "numpy", "random"])
def test_sources_that_differ_between_reads_are_refused_with_both_remedies(library: str) -> None:
    with pytest.raises(SourceError, match=r"source\[0\] differs between two reads") as error:
        inspect(Noisy([(sample, 0) for sample in floats(4)], library))
    assert "CondensedDataset(..., transform=...)" in str(error.value)
    assert "TensorDataset" in str(error.value)
