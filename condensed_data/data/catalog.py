"""Load sources by name, for the command line: map-style datasets of (sample, label) with train and test splits.

    digits                     scikit-learn's 8x8 digits, no download
    fashion-mnist, cifar10...  torchvision datasets, below a data root
    imagefolder:PATH           one folder of images per class
    hf:USER/NAME               a dataset on the Hugging Face Hub, see `hf_datasets`
    package.module:callable    the dataset that the callable returns

Letters: C channels, H, W.
"""

from __future__ import annotations

import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from condensed_data.core.annotations import Count, checked
from condensed_data.core.names import unknown_name
from condensed_data.data import hf_datasets, torchvision_sources
from condensed_data.data.bit_depth import FLOAT_FORMS, ImageLoader, common_form, forms_of, to_float_tensor
from condensed_data.data.sample import NoTestSplitError, SourceError

SPLITS = ("train", "test")
_FORMS = ("imagefolder:PATH", hf_datasets.FORM, "package.module:callable")
_DIGITS_TRAIN = 1400  # of 1,797; the rest is the test split


class Digits(Dataset[tuple[Tensor, int]]):
    """scikit-learn's handwritten digits: `images` (n, 1, 8, 8) float32 in [0, 1] and `targets`, n labels 0..9.

    The split "train" has the first 1,400 samples, "test" the last 397.
    """

    classes = tuple(map(str, range(10)))

    def __init__(self, split: str = "train") -> None:
        from sklearn.datasets import load_digits

        _check_split(split)
        bunch = load_digits()
        rows = slice(_DIGITS_TRAIN) if split == "train" else slice(_DIGITS_TRAIN, None)
        self.images = torch.from_numpy(bunch.images[rows]).float().div(16).unsqueeze(1)
        self.targets = bunch.target[rows].tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]


def source_names() -> list[str]:
    """Names and forms of all sources, such as "cifar10" and "imagefolder:PATH"."""
    return ["digits", *sorted(torchvision_sources.DATASETS), *_FORMS]


@checked
def load(
    source: str,
    split: str,
    *,
    data_root: str | Path | None = None,
    image_size: Count | None = None,
    download: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Dataset[Any]:
    """Load a split of a source.

    Args:
        source: one of `source_names()`.
        split: "train" or "test".
        data_root: folder with the files of torchvision datasets.
        image_size: height and width to which images are resized and cropped, in pixels.
        download: let torchvision download missing files.
        image_column, label_column: of a dataset on the Hub, if it has several candidates.

    Returns:
        A map-style dataset of (sample, label): tensors for digits, PIL images for torchvision, folders and the Hub; for
        folders and the Hub, tensors if images have more than 8 bits per channel, see `bit_depth`.

    Raises:
        SourceError: for an unknown source, missing files, or a callable that fails; `NoTestSplitError` if the
            source has no test split.
    """
    _check_split(split)
    if source.startswith(hf_datasets.PREFIX):
        return hf_datasets.load(source, split, image_size, image_column, label_column)
    for name, value in (("image_column", image_column), ("label_column", label_column)):
        if value is not None:
            raise SourceError(f"{name}={value!r} applies to {hf_datasets.FORM} only, not to {source}.")
    if source in torchvision_sources.DATASETS:
        return torchvision_sources.load(source, split, data_root, image_size, download)
    if source.startswith("imagefolder:"):
        return _image_folder(Path(source.partition(":")[2]).expanduser(), split, image_size)
    if image_size is not None:
        raise SourceError(
            f"image_size={image_size} applies to torchvision datasets, {_FORMS[0]} and {_FORMS[1]}, not to {source}."
        )
    if source == "digits":
        return Digits(split)
    return _call(source, split)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise SourceError(f"split={split!r} is unknown; known: {', '.join(SPLITS)}.")


def _image_folder(path: Path, split: str, image_size: int | None) -> Dataset[Any]:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose

    if not os.path.isdir(path):
        raise SourceError(
            f"imagefolder:{path} is not a folder. Give a folder that has one subfolder of images per class."
        )
    folder = _split_folder(path, split)
    resize = torchvision_sources.resize(image_size)
    try:
        dataset = ImageFolder(folder, transform=resize)
        _refuse_results(folder, dataset.classes)
    except (OSError, RuntimeError) as error:
        raise SourceError(
            f"imagefolder:{path}: {error} The folder must have one subfolder of images per class."
        ) from error
    train = folder.parent / "train"
    is_test = folder.name in ("test", "val") and train.is_dir()
    paths = _some_paths(train) if is_test else [name for name, _ in dataset.samples]
    try:
        form = common_form(forms_of(len(paths), paths.__getitem__))
    except ValueError as error:
        raise SourceError(f"imagefolder:{path}: {error}") from error
    if form in FLOAT_FORMS:
        dataset.loader = ImageLoader(form)
        dataset.transform = Compose([*([] if resize is None else [resize]), to_float_tensor])
    else:
        dataset.loader = ImageLoader("RGB")  # as torchvision's own
    return _with_train_classes(dataset, train) if is_test else dataset


def _refuse_results(folder: Path, classes: Sequence[str]) -> None:
    """Refuse a folder in which a condensed dataset was saved: its pictures would become a class."""
    for name in classes:
        if (folder / name / "condensed.json").is_file():
            raise SourceError(f"{folder / name} contains a condensed dataset, not a class. Move it to another folder.")


def _split_folder(path: Path, split: str) -> Path:
    """The folder of a split: PATH/train, PATH/test or PATH/val if it exists, else PATH itself."""
    names = ("train",) if split == "train" else ("test", "val")
    for name in names:
        if (path / name).is_dir():
            return path / name
    if split == "train" or path.name in names:
        return path
    raise NoTestSplitError(f"imagefolder:{path} has no test split: it has no subfolder 'test' or 'val'.")


def _some_paths(folder: Path) -> list[str]:
    """Up to 20 files of each subfolder."""
    classes = [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    return [os.path.join(path, name) for path in classes for name in os.listdir(path)[:20]]


def _with_train_classes(dataset: Any, train: Path) -> Dataset[Any]:
    """Number the classes of a test folder as in its train folder, which may have more classes."""
    classes = sorted(entry.name for entry in os.scandir(train) if entry.is_dir())
    unknown = sorted(set(dataset.classes) - set(classes))
    if unknown:
        raise SourceError(
            f"{dataset.root} has classes that {train} does not have: {', '.join(unknown[:5])}. Remove them."
        )
    dataset.class_to_idx = {name: index for index, name in enumerate(classes)}
    dataset.targets = [dataset.class_to_idx[dataset.classes[label]] for label in dataset.targets]
    dataset.samples = [(path, label) for (path, _), label in zip(dataset.samples, dataset.targets, strict=True)]
    dataset.imgs, dataset.classes = dataset.samples, classes
    return dataset


def _call(source: str, split: str) -> Dataset[Any]:
    """The dataset that `module:name` returns; the current folder is searched for the module, too."""
    module, colon, name = source.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise SourceError(unknown_name("source", source, source_names()))
    function = _import(source)
    if not callable(function):
        raise SourceError(f"{source} is a {type(function).__name__}, not a callable that returns a dataset.")
    takes_split = _takes_split(function)
    if split == "test" and not takes_split:
        raise NoTestSplitError(
            f"{source} has no test split. Give {name} a parameter split, which is 'train' or 'test'."
        )
    try:
        dataset = function(split=split) if takes_split else function()
    except Exception as error:
        raise SourceError(f"{source} failed: {type(error).__name__}: {error}") from error
    if not hasattr(dataset, "__getitem__"):
        raise SourceError(f"{source} returned a {type(dataset).__name__}, not a map-style dataset.")
    return dataset


def _import(source: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return pkgutil.resolve_name(source)
    except Exception as error:
        raise SourceError(
            f"{source} can be imported neither from {here} nor from an installed package: "
            f"{type(error).__name__}: {error}"
        ) from error


def _takes_split(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # builtins without a signature
        return False
    return any(p.name == "split" or p.kind is p.VAR_KEYWORD for p in parameters)
