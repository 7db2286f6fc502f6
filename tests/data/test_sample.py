"""One sample and its label: what is supported, and that every remedy, followed literally, gives the right values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sources import ListDataset, contents
from torch import Tensor
from torch.utils.data import Subset, TensorDataset
from torchvision import transforms

from condensed_data import CondensedDataset
from condensed_data.data.sample import SourceError, check_kind, check_label, kind_of, to_tensor
from condensed_data.data.source import inspect
from condensed_data.engine.planning.source_sample import read_labels

LABELS = [3, torch.tensor(0), np.int32(7), np.array(3), torch.tensor(7, dtype=torch.uint8)]
NOT_OURS = "a target_transform= of the source dataset, not of CondensedDataset"
COLORS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
BYTES = torch.full((1, 2, 2), 255, dtype=torch.uint8)
DEEP = np.array([[0, 255, 256], [30_000, 50_000, 65_535]], dtype=np.uint16)


def floats(count: int = 8, shape: tuple[int, ...] = (1, 4, 4)) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


def error_of(sample: Any) -> str:
    with pytest.raises(SourceError, match=r"source\[0\] ") as error:
        inspect(ListDataset([(sample, 0)]))
    return str(error.value)


def followed(message: str, sample: Any, name: str) -> Any:
    """The sample after the code that a message advises, which reads it from a variable `name`."""
    code = re.search(
        r"(?:lambda image: |: |Use |: use )((?:torch|sample|image)\.\S.*?)(?:\)\.$|\.$|\. |, which| for | if )", message
    )
    assert code is not None, message
    expression = code[1]
    expression += ")" * (expression.count("(") - expression.count(")"))
    return eval(expression, {"torch": torch, "np": np, name: sample})  # noqa: S307 (our own message)


@pytest.mark.parametrize("mode", ["1", "LA", "La", "P", "PA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"])
def test_the_remedy_of_8_bit_images_shows_the_same_picture(mode: str) -> None:
    solid = Image.new("RGBA", (5, 4), (204, 51, 102, 255))  # in every palette
    gray = mode in ("1", "LA", "La")
    image = Image.new("L", (5, 4), 255).convert("LA") if gray else solid
    image = image.convert("RGB").convert(mode) if mode not in ("La", "RGBa", "PA") else image.convert(mode)
    message = error_of(image)
    assert f"PIL image of mode {mode!r}" in message
    found = followed(message, image, "image")
    expected = np.full((4, 5), 255) if gray else np.array(solid)[:, :, :3]
    assert np.abs(np.array(found).astype(int) - expected).max() <= (12 if mode in ("P", "HSV", "YCbCr", "LAB") else 1)
    assert kind_of(found, 0).name in ("pil:L", "pil:RGB")


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I", "F"])
def test_the_remedy_of_deep_images_clips_nothing(mode: str) -> None:
    image = Image.fromarray(DEEP)
    image = image.convert(mode) if mode != "I;16B" else Image.frombytes(mode, (3, 2), DEEP.astype(">u2").tobytes())
    found = followed(error_of(image), image, "image")
    scale = 65_535 if mode.startswith("I;16") else 1
    assert torch.equal(found, torch.from_numpy(DEEP.astype(np.float32) / scale)[None])
    assert kind_of(found, 0).shape == (1, 2, 3)


@pytest.mark.parametrize(
    "dtype",
    [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.bool, torch.float8_e4m3fn],
)
def test_the_remedy_of_other_tensors_keeps_their_values(dtype: torch.dtype) -> None:
    sample = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 1]]).to(dtype)
    found = followed(error_of(sample), sample, "sample")
    assert torch.equal(found, torch.tensor([[0.0, 1, 1, 0], [1, 0, 0, 1]]))


def test_the_remedies_of_complex_and_sparse_tensors() -> None:
    wave = torch.tensor([[1 + 2j, 3 - 4j]])
    assert followed(error_of(wave), wave, "sample").tolist() == [[1, 3], [2, -4]]
    sparse = torch.eye(3).to_sparse()
    assert torch.equal(followed(error_of(sparse), sparse, "sample"), torch.eye(3))


def test_to_tensor_of_a_16_bit_image_is_said_to_have_wrapped() -> None:
    image = Image.fromarray(DEEP)
    wrapped = transforms.ToTensor()(image)
    message = error_of(wrapped)
    assert int(wrapped.min()) < 0
    assert "values above 32,767 have become negative" in message
    advised = message.partition("negative: use ")[2].partition(" instead")[0]
    found = eval(advised, {"torch": torch, "np": np, "image": image})  # noqa: S307 (our own message)
    assert torch.equal(found, torch.from_numpy(DEEP.astype(np.float32) / 65_535)[None])


@pytest.mark.parametrize(
    ("shape", "channels_first"),
    [((6, 7, 3), (3, 6, 7)), ((28, 28, 1), (1, 28, 28)), ((3, 6, 7), (3, 6, 7)), ((5,), (5,)), ((9, 40), (9, 40))],
)
def test_the_remedy_of_arrays_puts_channels_first(shape: tuple[int, ...], channels_first: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    message = error_of(array)
    assert "of type ndarray; supported: PIL images and tensors" in message
    if len(shape) == 2:  # an image without channels, or a signal
        assert "torch.from_numpy(sample)[None] for an image (H, W)" in message
        assert "torch.from_numpy(sample) for a signal (C, L)" in message
        return
    found = followed(message, array, "sample")
    assert tuple(found.shape) == channels_first
    assert np.array_equal(np.moveaxis(array, -1, 0) if shape != channels_first else array, found.numpy())


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("a.png", "of type str"),
        ([0.5, 0.5], "of type list"),
        (torch.zeros(()), r"the shape \(\); supported"),
        (torch.zeros(1, 2, 3, 4), r"the shape \(1, 2, 3, 4\)"),
        (torch.zeros(3, 0), r"the shape \(3, 0\).*not empty"),
    ],
)
def test_unsupported_samples_are_refused(sample: Any, message: str) -> None:
    assert re.search(message, error_of(sample))


@pytest.mark.parametrize(
    ("first", "other", "text", "remedy"),
    [
        (Image.fromarray(COLORS), Image.new("L", (5, 4)), "image.convert('RGB')", lambda image: image.convert("RGB")),
        (torch.rand(1, 2, 2), torch.rand(1, 2, 2).double(), "sample.float()", lambda sample: sample.float()),
        (torch.ones(1, 2, 2), BYTES, "sample.float() / 255", lambda sample: sample.float() / 255),
        (torch.ones(3, 4, 5), Image.fromarray(COLORS), "ToTensor()", transforms.ToTensor()),
    ],
)
def test_the_remedy_of_mixed_kinds_leads_to_one_range(
    first: Any, other: Any, text: str, remedy: Callable[[Any], Any]
) -> None:
    kind = kind_of(first, 0)
    with pytest.raises(SourceError, match=r"Convert all samples to one (mode|dtype|kind)") as error:
        check_kind(other, kind, 1)
    assert text in str(error.value)
    found = remedy(other)
    check_kind(found, kind, 1)
    assert float(to_tensor(found).float().max()) <= (255 if kind.is_pil else 1)


def test_labels_of_every_integer_kind() -> None:
    assert contents(inspect(ListDataset(list(zip(floats(5), LABELS, strict=True)))))[1].tolist() == [3, 0, 7, 3, 7]
    for dtype in (torch.int64, torch.int32, torch.uint8, torch.int8):
        labels = torch.tensor([1, 0, 1], dtype=dtype)
        assert contents(inspect(TensorDataset(floats(3), labels)))[1].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "label", [np.array([4]), torch.tensor([4]), [4], (4,), np.array([[4]], dtype=np.uint8), [np.int64(4)]]
)
def test_labels_in_a_shape_of_one_are_unwrapped(label: Any) -> None:
    """MedMNIST yields arrays of shape (1,)."""
    assert check_label(label, 0) == 4
    dataset = ListDataset([(sample, label) for sample in floats(3)])
    assert contents(inspect(dataset))[1].tolist() == [4, 4, 4]
    assert read_labels(inspect(dataset))[0].tolist() == [4, 4, 4]


def test_a_column_of_labels_is_unwrapped() -> None:
    column = TensorDataset(floats(4), torch.tensor([[1], [0], [1], [0]]))
    for dataset in (column, Subset(column, range(4))):
        assert contents(inspect(dataset))[1].tolist() == [1, 0, 1, 0]
        assert read_labels(inspect(dataset))[0].tolist() == [1, 0, 1, 0]
    small = CondensedDataset(column, "random", ipc=1, cache=False, progress=False)
    assert small.targets == [0, 1]


@pytest.mark.parametrize(
    ("label", "message", "remedy"),
    [
        (1.0, r"the label 1\.0 \(float\)", "int(label)"),
        (torch.tensor(1.0), r"the label 1\.0 \(Tensor\)", "int(label)"),
        (torch.tensor([1.0]), r"the label 1\.0 \(Tensor\)", "int(label)"),
        (np.float32(1), r"the label 1\.0 \(float32\)", "int(label)"),
        (True, r"the label True \(bool\)", "int(label)"),
        (np.True_, r"the label True \(bool", "int(label)"),
        (torch.tensor(True), r"the label True \(Tensor\)", "int(label)"),
        ("cat", r"the label 'cat' \(str\)", "names.index(label)"),
        (np.str_("cat"), r"the label 'cat' \(str_\)", "names.index(label)"),
        (None, r"the label None \(NoneType\)", "yield the number of the class"),
        (1.5, r"the label 1\.5 \(float\)", "int(label > 0.5)"),
        (float("nan"), r"the label nan \(float\)", "divide its range"),
        ({"class": 1}, r"the label \{'class': 1\} \(dict\)", "yield the number of the class"),
        (np.array("cat"), r"the label 'cat' \(ndarray\)", "names.index(label)"),
        ([0, 1], r"the label \[0, 1\] \(list\)", "label.index(max(label))"),
        (torch.tensor([0, 1, 0]), r"a label of shape \(3,\)", "int(label.argmax())"),
        (np.array([0.0, 1.0]), r"a label of shape \(2,\)", "int(label.argmax())"),
        (np.array([0.2, 0.8]), r"a label of shape \(2,\)", "int(label.argmax())"),
        (torch.tensor([1, 1, 0]), r"a label of shape \(3,\)", "choose one class per sample"),
        (2**63, "the label 9223372036854775808", "number the classes from 0"),
    ],
)
def test_other_labels_are_refused_with_a_remedy_of_the_source(label: Any, message: str, remedy: str) -> None:
    for items in ([label], [0, 1, 2, 3, label, 1, 2, 3, 0]):
        dataset = ListDataset(list(zip(floats(len(items)), items, strict=True)))
        with pytest.raises(SourceError, match=message) as error:
            contents(inspect(dataset))
        assert f"source[{items.index(label) if len(items) == 1 else 4}] has" in str(error.value)
        assert NOT_OURS in str(error.value)
        assert remedy in str(error.value)
    expected = {"int(label)": 1, "int(label.argmax())": 1, "label.index(max(label))": 1, "names.index(label)": 0}
    if remedy in expected:
        found = eval(remedy, {"label": label, "names": ["cat", "dog"]})  # noqa: S307 (from the table above)
        assert found == expected[remedy]


@pytest.mark.parametrize("label", [-1, torch.tensor(-2), np.array([-1])])
def test_negative_labels_are_said_to_mark_unlabeled_samples(label: Any) -> None:
    with pytest.raises(SourceError, match=r"source\[0\] has the label -.*Leave these out with .*Subset"):
        inspect(ListDataset([(torch.zeros(3), label)]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, -5, 2]), r"source\[2\] has the label -5"),
        (torch.tensor([[0], [1], [-5], [2]]), r"source\[2\] has the label -5"),
        (torch.rand(4), r"source\[0\] has the label 0\.\d+"),
        (torch.zeros(4, 3, dtype=torch.int64), r"source\[0\] has a label of shape \(3,\)"),
        (torch.eye(4), r"source\[0\] has a label of shape \(4,\).*one-hot; use .* labels\.argmax\(1\)"),
        (torch.tensor([True, False, True, False]), r"source\[0\] has the label True.*labels\.long\(\)"),
        (torch.zeros(4, dtype=torch.complex64), r"source\[0\] has the label 0j"),
    ],
)
def test_labels_of_tensor_datasets_are_checked_too(labels: Tensor, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        contents(inspect(TensorDataset(floats(4), labels)))


@pytest.mark.parametrize("value", [1.0, 0.0, 0.3])
@pytest.mark.parametrize("tensors", [True, False])
def test_a_source_of_identical_samples_is_refused(value: float, tensors: bool) -> None:
    samples, labels = torch.full((700, 1, 4, 4), value), torch.arange(700) % 2
    dataset: Any = TensorDataset(samples, labels) if tensors else ListDataset(list(zip(samples, labels, strict=True)))
    with pytest.raises(SourceError, match=f"All 700 samples of the source are identical: every value is {value:g}"):
        contents(inspect(dataset))


def test_a_source_of_one_repeated_picture_is_refused_but_one_sample_is_not() -> None:
    image = floats(1)
    with pytest.raises(SourceError, match="All 5 samples of the source are identical"):
        contents(inspect(TensorDataset(image.repeat(5, 1, 1, 1), torch.arange(5))))
    with pytest.raises(SourceError, match="All 3 samples of the source are identical: every value is 255"):
        contents(inspect(ListDataset([(Image.new("L", (4, 4), 255), i) for i in range(3)])))
    assert len(contents(inspect(TensorDataset(image, torch.zeros(1).long())))[0]) == 1
    late = image.repeat(600, 1, 1, 1)
    late[-1, 0, 0, 0] += 0.1
    assert len(contents(inspect(TensorDataset(late, torch.arange(600))))[0]) == 600
