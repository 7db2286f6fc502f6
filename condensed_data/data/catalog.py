"""Sources by name, for the command line: map-style datasets of (sample, label) with a train and a test split.

    digits                     scikit-learn's 8x8 digits, nothing to download
    fashion-mnist, cifar10...  torchvision's, below a data root
    imagefolder:PATH           one folder of images a class
    hf:USER/NAME               of the Hugging Face Hub, see `hub_sources`
    package.module:callable    what the callable returns

Letters: C channels, H, W.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from condensed_data.data import hf_datasets as hub_sources
from condensed_data.data import torchvision_sources
from condensed_data.data.sample import NoTestSplitError as NoTestSplitError
from condensed_data.data.sample import SourceError

SPLITS = ("train", "test")
_FORMS = ("imagefolder:PATH", hub_sources.FORM, "package.module:callable")
_DIGITS_TRAIN = 1400  # of 1,797; the rest is the test split


class Digits(Dataset[tuple[Tensor, int]]):
    """scikit-learn's handwritten digits: (1, 8, 8) float32 in [0, 1] and labels 0..9.

    Args:
        split: "train", the first 1,400, or "test", the last 397.

    Attributes:
        images: (n, 1, 8, 8); targets: n labels; classes: their names.
    """

    classes = tuple(map(str, range(10)))

    def __init__(self, split: str = "train") -> None:
        data, labels = _digits()
        chosen = slice(_DIGITS_TRAIN) if _split(split) == "train" else slice(_DIGITS_TRAIN, None)
        self.images, self.targets = data[chosen], labels[chosen].tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]


@lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.from_numpy(bunch.images).float().div(16).unsqueeze(1), torch.from_numpy(bunch.target)


def known() -> list[str]:
    """Names and forms of all sources."""
    return ["digits", *sorted(torchvision_sources.ENTRIES), *_FORMS]


def load(
    source: str,
    split: str,
    *,
    data_root: str | Path | None = None,
    image_size: int | None = None,
    download: bool = False,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Dataset[Any]:
    """A split of a source.

    Args:
        source: one of `known()`.
        split: "train" or "test".
        data_root: folder with the files of torchvision's datasets.
        image_size: images are resized and cropped to this many pixels in height and width.
        download: let torchvision download what is missing.
        image_column, label_column: of a data set of the Hub, where its columns leave a choice.

    Returns:
        A map-style dataset of (sample, label): tensors for digits, PIL images for torchvision, folders and the Hub.

    Raises:
        SourceError: for an unknown source, missing files, or code that fails; `NoTestSplitError` where the
            source has no test split.
    """
    _split(split)
    if image_size is not None and image_size < 1:
        raise SourceError(f"image_size={image_size} must be a positive number of pixels.")
    if source.startswith(hub_sources.PREFIX):
        return hub_sources.load(source, split, image_size, image_column, label_column)
    if image_column is not None or label_column is not None:
        raise SourceError(
            f"image_column={image_column!r}, label_column={label_column!r} name columns of {hub_sources.FORM}, "
            f"not of {source}."
        )
    if source in torchvision_sources.ENTRIES:
        return torchvision_sources.load(source, split, data_root, image_size, download)
    if source.startswith("imagefolder:"):
        return _image_folder(Path(source.partition(":")[2]).expanduser(), split, image_size)
    if image_size is not None:
        raise SourceError(
            f"image_size={image_size} resizes images of torchvision, {_FORMS[0]} and {_FORMS[1]}, not {source}."
        )
    if source == "digits":
        return Digits(split)
    module, colon, name = source.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        return _call(source, module, name, split)
    raise SourceError(f"Unknown source {source!r}. Known sources: {', '.join(known())}.")


def _split(split: str) -> str:
    if split not in SPLITS:
        raise SourceError(f"split={split!r} is unknown; known: {', '.join(SPLITS)}.")
    return split


def _image_folder(path: Path, split: str, image_size: int | None) -> Dataset[Any]:
    from torchvision.datasets import ImageFolder

    if not path.is_dir():
        raise SourceError(
            f"imagefolder:{path} is no folder. Give one with a folder of images for each class."
        )
    folder = _folder_of(path, split)
    try:
        # its own loader converts to RGB
        dataset = ImageFolder(folder, transform=torchvision_sources.resize(image_size))
    except (OSError, RuntimeError) as error:
        raise SourceError(
            f"imagefolder:{path}: {error} It must hold one folder of images for each class."
        ) from error
    train = _train_beside(folder)
    return dataset if train is None else _as_in(dataset, train)


def _folder_of(path: Path, split: str) -> Path:
    """The folder of a split: PATH/train, PATH/test or PATH/val where they are there, or PATH itself."""
    names = ("train",) if split == "train" else ("test", "val")
    for name in names:
        if (path / name).is_dir():
            return path / name
    if split == "train" or path.name in names:
        return path
    raise NoTestSplitError(f"imagefolder:{path} has no test split: it has neither a folder test nor val.")


def _train_beside(folder: Path) -> Path | None:
    train = folder.parent / "train"
    return train if folder.name in ("test", "val") and train.is_dir() else None


def _as_in(dataset: Any, train: Path) -> Dataset[Any]:
    """Number the classes of a test folder as its train folder does, which may hold more of them."""
    classes = sorted(entry.name for entry in os.scandir(train) if entry.is_dir())
    strange = sorted(set(dataset.classes) - set(classes))
    if strange:
        raise SourceError(
            f"{dataset.root} has classes that {train} has not: {', '.join(strange[:5])}. Remove them."
        )
    numbers = [classes.index(name) for name in dataset.classes]
    dataset.target_transform = numbers.__getitem__
    dataset.classes = classes
    return dataset


def _call(source: str, module: str, name: str, split: str) -> Dataset[Any]:
    """What `module:name` returns; modules are also looked for in the current folder."""
    function = _imported(source, module, name)
    if not callable(function):
        raise SourceError(f"{source} is a {type(function).__name__}, not a callable that returns a dataset.")
    takes_split = _takes_split(function)
    if split == "test" and not takes_split:
        raise NoTestSplitError(f"{source} has no test split: let {name} take split='train' or split='test'.")
    try:
        dataset = function(split=split) if takes_split else function()
    except Exception as error:
        raise SourceError(f"{source} failed: {type(error).__name__}: {error}") from error
    if not hasattr(dataset, "__getitem__"):
        raise SourceError(f"{source} returned a {type(dataset).__name__}, not a map-style dataset.")
    return dataset


def _imported(source: str, module: str, name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise SourceError(
            f"{source} cannot be imported from {here} or what is installed: {type(error).__name__}: {error}"
        ) from error
    return found


def _takes_split(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # builtins without a signature
        return False
    return any(p.name == "split" or p.kind is p.VAR_KEYWORD for p in parameters)
