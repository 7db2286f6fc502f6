"""Sources by name: the datasets that they load, and their errors."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import fake_data
import pytest
import torch
from PIL import Image
from torchvision import datasets

from condensed_data.data import catalog
from condensed_data.data.sample import NoTestSplitError, SourceError
from condensed_data.data.torchvision_sources import DATASETS

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
MODULE = """
import torch
from PIL import Image
from torch.utils.data import TensorDataset

def both(split):
    count = {"train": 3, "test": 2}[split]
    return TensorDataset(torch.zeros(count, 4), torch.zeros(count).long())

def only_train():
    return TensorDataset(torch.zeros(3, 4), torch.zeros(3).long())

def broken():
    raise RuntimeError("the disk is on fire")

def nothing():
    return None

class Holder:
    inner = staticmethod(both)

number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module in the current folder."""
    name = f"source_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    return name


def test_digits() -> None:
    train, test = catalog.load("digits", "train"), catalog.load("digits", "test")
    assert (len(train), len(test)) == (1400, 397)  # type: ignore[arg-type]
    image, label = train[0]
    assert (image.dtype, tuple(image.shape), label) == (torch.float32, (1, 8, 8), 0)
    assert isinstance(train, catalog.Digits)
    assert float(train.images.min()) == 0
    assert float(train.images.max()) == 1
    assert train.classes == tuple("0123456789")
    assert set(train.targets) == set(range(10))


def test_digits_are_those_of_scikit_learn_in_order() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.cat([catalog.Digits(split).images for split in catalog.SPLITS])
    assert torch.equal(images, torch.tensor(bunch.images / 16, dtype=torch.float32).unsqueeze(1))
    assert catalog.Digits("test").targets == bunch.target[1400:].tolist()


def test_an_unknown_source_lists_the_known() -> None:
    with pytest.raises(SourceError, match=r"'cifar11'.*digits, cifar10, cifar100.*imagefolder:PATH"):
        catalog.load("cifar11", "train")


@pytest.mark.parametrize("source", ["digits:", ":digits", "some path:x"])
def test_malformed_sources_are_unknown(source: str) -> None:
    with pytest.raises(SourceError, match="Unknown source"):
        catalog.load(source, "train")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(SourceError, match="'valid' is unknown; known: train, test"):
        catalog.load("digits", "valid")


def test_image_size_is_refused_for_other_sources() -> None:
    with pytest.raises(SourceError, match="image_size=16"):
        catalog.load("digits", "train", image_size=16)
    with pytest.raises(ValueError, match="image_size=0"):
        catalog.load("mnist", "train", image_size=0)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_torchvision_datasets_and_split_arguments_exist(name: str) -> None:
    entry = DATASETS[name]
    parameters = inspect.signature(getattr(datasets, entry.cls)).parameters
    takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for options in (entry.train, entry.test):
        assert takes_more or {*options, "transform", "download"} <= set(parameters)


@pytest.mark.parametrize("name", sorted(DATASETS))
@pytest.mark.parametrize("split", catalog.SPLITS)
def test_missing_torchvision_files_are_named(name: str, split: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        catalog.load(name, split, data_root=tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{name} cannot be read from {tmp_path}")
    assert DATASETS[name].files in message
    assert "--download" in message


def test_a_data_root_is_required() -> None:
    with pytest.raises(SourceError, match=r"--data-root DIR.*FashionMNIST/raw/train-images-idx3-ubyte"):
        catalog.load("fashion-mnist", "train")


def test_fashion_mnist(tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path, train=30, test=20)
    train: Any = catalog.load("fashion-mnist", "train", data_root=str(tmp_path))
    test: Any = catalog.load("fashion-mnist", "test", data_root=tmp_path)
    image, label = train[13]
    assert (len(train), len(test), image.mode, image.size, label) == (30, 20, "L", (28, 28), 3)
    assert train.classes[0] == "T-shirt/top"


def test_image_size_resizes_torchvision_images(tmp_path: Path) -> None:
    fake_data.fashion_mnist(tmp_path)
    image, _ = catalog.load("fashion-mnist", "train", data_root=tmp_path, image_size=12)[0]
    assert (image.mode, image.size) == ("L", (12, 12))


def test_download_lets_torchvision_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.FashionMNIST, "download", lambda self: fake_data.fashion_mnist(self.root))
    train: Any = catalog.load("fashion-mnist", "train", data_root=tmp_path, download=True)
    assert len(train) == 30


def test_a_failed_download_is_a_source_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])  # nothing listens there
    with pytest.raises(SourceError, match="fashion-mnist cannot be read") as caught:
        catalog.load("fashion-mnist", "train", data_root=tmp_path, download=True)
    assert "--download" not in str(caught.value)


def test_image_folder_with_train_and_val(tmp_path: Path) -> None:
    fake_data.image_folder(tmp_path / "train", {"ant": RED, "bee": GREEN})
    fake_data.image_folder(tmp_path / "val", {"bee": GREEN}, count=2)
    source = f"imagefolder:{tmp_path}"
    train: Any = catalog.load(source, "train", image_size=8)
    test: Any = catalog.load(source, "test", image_size=8)
    assert (len(train), train.classes) == (8, ["ant", "bee"])
    image, label = test[0]
    assert (image.mode, image.size, image.getpixel((0, 0)), label) == ("RGB", (8, 8), GREEN, 1)
    assert test.classes == ["ant", "bee"]


def test_a_test_folder_may_be_the_source(tmp_path: Path) -> None:
    fake_data.image_folder(tmp_path / "train", {"ant": RED, "bee": GREEN})
    fake_data.image_folder(tmp_path / "test", {"bee": GREEN}, count=2)
    _, label = catalog.load(f"imagefolder:{tmp_path / 'test'}", "test")[0]
    assert label == 1


def test_a_test_class_missing_in_train_is_named(tmp_path: Path) -> None:
    fake_data.image_folder(tmp_path / "train", {"ant": RED})
    fake_data.image_folder(tmp_path / "test", {"ant": RED, "cat": BLUE})
    with pytest.raises(SourceError, match="cat"):
        catalog.load(f"imagefolder:{tmp_path}", "test")


def test_image_folder_without_splits(tmp_path: Path) -> None:
    fake_data.image_folder(tmp_path / "all", {"ant": RED, "bee": GREEN}, mode="P")
    train = catalog.load(f"imagefolder:{tmp_path / 'all'}", "train")
    assert [train[index][0].size for index in range(3)] == [(12, 10), (13, 10), (14, 10)]
    assert train[0][0].mode == "RGB"
    with pytest.raises(NoTestSplitError, match="has no subfolder 'test' or 'val'"):
        catalog.load(f"imagefolder:{tmp_path / 'all'}", "test")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a folder"):
        catalog.load(f"imagefolder:{tmp_path / 'absent'}", "train")
    with pytest.raises(SourceError, match="one subfolder of images per class"):
        catalog.load(f"imagefolder:{tmp_path}", "train")


def test_a_callable_of_a_module_in_the_current_folder(module: str) -> None:
    assert len(catalog.load(f"{module}:both", "train")) == 3  # type: ignore[arg-type]
    assert len(catalog.load(f"{module}:both", "test")) == 2  # type: ignore[arg-type]
    assert len(catalog.load(f"{module}:only_train", "train")) == 3  # type: ignore[arg-type]
    assert len(catalog.load(f"{module}:Holder.inner", "test")) == 2  # type: ignore[arg-type]


def test_a_callable_without_a_split_has_no_test_split(module: str) -> None:
    with pytest.raises(NoTestSplitError, match="Give only_train a parameter split, which is 'train' or 'test'"):
        catalog.load(f"{module}:only_train", "test")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "failed: RuntimeError: the disk is on fire"),
        ("nothing", "returned a NoneType"),
        ("number", "is a int, not a callable"),
        ("absent", "can be imported neither from .* nor from an installed package: AttributeError"),
    ],
)
def test_other_attributes_of_a_module_are_refused(module: str, name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        catalog.load(f"{module}:{name}", "train")


def test_a_missing_module_is_refused() -> None:
    with pytest.raises(SourceError, match=r"can be imported neither from .*: ModuleNotFoundError"):
        catalog.load("no_such_module_anywhere:function", "train")


def test_results_saved_inside_a_folder_of_images_are_no_class(tmp_path: Path) -> None:
    """The picture of a result would become one more class, without a word."""
    for name in ("ant", "bee", "out"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "grid.png")
    assert catalog.load(f"imagefolder:{tmp_path}", "train", image_size=4).classes == ["ant", "bee", "out"]
    (tmp_path / "out" / "condensed.json").touch()
    with pytest.raises(SourceError, match=r"out contains a condensed dataset, not a class. Move it"):
        catalog.load(f"imagefolder:{tmp_path}", "train", image_size=4)
    with pytest.raises(SourceError, match="is not a folder"):
        catalog.load(f"imagefolder:{'a' * 300}", "train", image_size=4)
