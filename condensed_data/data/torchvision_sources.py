"""torchvision's classification datasets by name, for `condensed_data.data.catalog`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from condensed_data.data.sample import SourceError


@dataclass(frozen=True)
class TorchvisionDataset:
    """How torchvision loads one dataset.

    `train` and `test` are the arguments of the class for each split.
    """

    cls: str  # name of the class in torchvision.datasets
    files: str  # that torchvision expects below the data root
    train: Mapping[str, Any] = field(default_factory=lambda: {"train": True})
    test: Mapping[str, Any] = field(default_factory=lambda: {"train": False})


def _splits(cls: str, files: str, train: str = "train", test: str = "test") -> TorchvisionDataset:
    return TorchvisionDataset(cls, files, {"split": train}, {"split": test})


def _idx(cls: str, prefix: str = "", **options: Any) -> TorchvisionDataset:
    files = f"{cls}/raw/{prefix}train-images-idx3-ubyte and its three companions, unpacked"
    return TorchvisionDataset(cls, files, {"train": True, **options}, {"train": False, **options})


DATASETS = {
    "cifar10": TorchvisionDataset("CIFAR10", "cifar-10-batches-py/data_batch_1 and its companions"),
    "cifar100": TorchvisionDataset("CIFAR100", "cifar-100-python/train, test and meta"),
    "dtd": _splits("DTD", "dtd/dtd/images/CLASS/*.jpg and dtd/dtd/labels/*.txt"),
    "emnist": _idx("EMNIST", "emnist-balanced-", split="balanced"),
    "fashion-mnist": _idx("FashionMNIST"),
    "fgvc-aircraft": _splits("FGVCAircraft", "fgvc-aircraft-2013b/data/images/*.jpg", train="trainval"),
    "flowers102": _splits("Flowers102", "flowers-102/jpg/*.jpg, imagelabels.mat and setid.mat"),
    "food101": _splits("Food101", "food-101/images/CLASS/*.jpg and food-101/meta/*.json"),
    "gtsrb": _splits("GTSRB", "gtsrb/GTSRB/Training and gtsrb/GTSRB/Final_Test"),
    "kmnist": _idx("KMNIST"),
    "mnist": _idx("MNIST"),
    "oxford-pets": _splits("OxfordIIITPet", "oxford-iiit-pet/images and annotations", train="trainval"),
    "qmnist": TorchvisionDataset("QMNIST", "QMNIST/raw/qmnist-train-images-idx3-ubyte and its companions"),
    "stl10": _splits("STL10", "stl10_binary/train_X.bin, train_y.bin, test_X.bin and test_y.bin"),
    "svhn": _splits("SVHN", "train_32x32.mat and test_32x32.mat"),
    "usps": TorchvisionDataset("USPS", "usps.bz2 and usps.t.bz2"),
}


def load(name: str, split: str, data_root: str | Path | None, image_size: int | None, download: bool) -> Dataset[Any]:
    """Load a split of the dataset of this name, as PIL images; see `catalog.load` for the arguments.

    If its files are not below `data_root`, SourceError names the expected files.
    """
    from torchvision import datasets

    entry = DATASETS[name]
    expected = f"torchvision expects {entry.files} there"
    if data_root is None:
        raise SourceError(
            f"{name} needs a data folder. Give --data-root DIR; {expected}. Add --download to download them."
        )
    root = Path(data_root).expanduser()
    options = entry.train if split == "train" else entry.test
    try:
        cls = getattr(datasets, entry.cls)
        dataset: Dataset[Any] = cls(root, **options, transform=resize(image_size), download=download)
    except (OSError, RuntimeError, ValueError) as error:  # a failed download is an OSError or RuntimeError
        remedy = "" if download else " Add --download to download them."
        raise SourceError(f"{name} cannot be read from {root} ({error}): {expected}.{remedy}") from error
    return dataset


def resize(image_size: int | None) -> Callable[[Any], Any] | None:
    """A transform of PIL images: resize the shorter side, then crop the center square. None for None."""
    if image_size is None:
        return None
    from torchvision.transforms import CenterCrop, Compose, Resize

    return Compose([Resize(image_size), CenterCrop(image_size)])
