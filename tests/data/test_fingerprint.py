"""Digests are equal for equal content, also in another process, and exist only where every byte is covered."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_pictures import rows
from PIL import Image, ImageOps
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader, pil_loader
from torchvision.transforms import Compose, Lambda, Normalize, Resize, ToTensor, v2

from condensed_data.data import catalog, fingerprint
from condensed_data.data.fingerprint import dataset_digest
from condensed_data.data.hf_datasets import HubDataset
from condensed_data.data.source import inspect, read

IMAGES = torch.arange(60 * 12, dtype=torch.float32).view(60, 1, 3, 4) / 720
LABELS = torch.arange(60) % 3


class Arrays(Dataset[Any]):
    def __init__(self, images: np.ndarray, transform: Any = None) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = torch.from_numpy(self.images[index])
        return image if self.transform is None else self.transform(image), index % 2


def test_equal_content_has_an_equal_digest() -> None:
    first, second = (dataset_digest(TensorDataset(IMAGES.clone(), LABELS.clone())) for _ in range(2))
    assert first == second is not None


def test_a_changed_pixel_label_subset_or_value_changes_the_digest() -> None:
    pixels, labels = IMAGES.clone(), LABELS.clone()
    pixels[17, 0, 1, 1] += 1e-3
    labels[9] = 2
    source = TensorDataset(IMAGES, LABELS)
    found = [
        dataset_digest(source),
        dataset_digest(TensorDataset(pixels, LABELS)),
        dataset_digest(TensorDataset(IMAGES, labels)),
        dataset_digest(TensorDataset(IMAGES.half(), LABELS)),
        dataset_digest(TensorDataset(IMAGES.view(60, 1, 4, 3), LABELS)),
        dataset_digest(Subset(source, range(50))),
        dataset_digest(Subset(source, np.arange(49))),
        dataset_digest(ConcatDataset([source, source])),
        dataset_digest(source, "named"),
    ]
    assert None not in found
    assert len(set(found)) == len(found)


class OwnFolder(ImageFolder):
    pass


@functools.wraps(default_loader)
def inverted(path: str) -> Any:
    return ImageOps.invert(default_loader(path))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images of two classes, that are old enough to be believed."""
    monkeypatch.setattr(fingerprint, "YOUNG_SECONDS", 0.0)
    for number in range(6):
        parent = tmp_path / "images" / str(number % 2)
        parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number * 40, np.uint8)).save(parent / f"{number}.png")
    return tmp_path / "images"


UNCOVERED: dict[str, Callable[[Path], Any]] = {
    "own class": lambda _: Arrays(IMAGES.numpy()),
    "subset of an own class": lambda _: Subset(Arrays(IMAGES.numpy()), [1, 2]),
    "own class in a concatenation": lambda _: ConcatDataset([TensorDataset(IMAGES, LABELS), Arrays(IMAGES.numpy())]),
    "own subclass": lambda path: OwnFolder(str(path)),
    "own loader": lambda path: ImageFolder(str(path), loader=inverted),
    "own function": lambda path: ImageFolder(str(path), lambda image: image),
    "Lambda": lambda path: ImageFolder(str(path), Compose([Lambda(ImageOps.invert)])),
    "Lambda of v2": lambda path: ImageFolder(str(path), v2.Compose([v2.Lambda(ImageOps.invert)])),
    "own class as transform": lambda path: ImageFolder(str(path), Compose([Inverted()])),
    "own target_transform": lambda path: ImageFolder(str(path), target_transform=lambda label: 1 - label),
    "own dictionary as target_transform": lambda path: ImageFolder(str(path), target_transform=Reversed().get),
    "rows in memory": lambda _: HubDataset(rows()),
    "objects": lambda _: Subset(TensorDataset(IMAGES, LABELS), np.array([0, 1], object)),
}


class Inverted:
    def __call__(self, image: Any) -> Any:
        return ImageOps.invert(image)


class Reversed(dict[int, int]):
    def __missing__(self, label: int) -> int:
        return 1 - label


@pytest.mark.parametrize("kind", UNCOVERED)
def test_what_runs_code_of_others_has_no_digest(folder: Path, kind: str) -> None:
    assert dataset_digest(UNCOVERED[kind](folder)) is None


COVERED: dict[str, Callable[[Path], Any]] = {
    "folder by name": lambda path: catalog.load(f"imagefolder:{path}", "train", image_size=4),
    "plain": lambda path: ImageFolder(str(path)),
    "transforms": lambda path: ImageFolder(str(path), Compose([Resize(3), ToTensor(), Normalize(0.5, 0.5)])),
    "other numbers": lambda path: ImageFolder(str(path), Compose([Resize(3), ToTensor(), Normalize(0.4, 0.5)])),
    "v2": lambda path: ImageFolder(str(path), v2.Compose([v2.Resize(3), v2.ToImage(), v2.ToDtype(torch.float32)])),
    "swapped labels": lambda path: ImageFolder(str(path), target_transform=[1, 0].__getitem__),
    "labels as they are": lambda path: ImageFolder(str(path), target_transform=[0, 1].__getitem__),
    "int": lambda path: ImageFolder(str(path), target_transform=int),
    "pil_loader": lambda path: ImageFolder(str(path), loader=pil_loader),
    "list of samples": lambda _: [(image, 0) for image in IMAGES],
    "digits": lambda _: catalog.Digits(),
    "test digits": lambda _: catalog.Digits("test"),
    "memory map": lambda path: TensorDataset(torch.from_numpy(_mapped(path)), LABELS[:5]),
}


def _mapped(path: Path) -> Any:
    np.save(path / "mapped.npy", IMAGES[:5].numpy())
    return np.load(path / "mapped.npy", mmap_mode="c")


def test_what_is_covered_has_a_digest_of_its_own(folder: Path) -> None:
    found = {kind: dataset_digest(make(folder)) for kind, make in COVERED.items()}
    assert None not in found.values(), found
    assert len(set(found.values())) == len(found)
    assert found == {kind: dataset_digest(make(folder)) for kind, make in COVERED.items()}


def _replace(path: Path, content: bytes) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(content)
    os.replace(other, path)


@pytest.mark.parametrize("change", [Path.write_bytes, _replace])
def test_a_file_of_the_same_size_and_time_is_noticed(folder: Path, change: Callable[[Path, bytes], Any]) -> None:
    path = folder / "1" / "5.png"
    before, source, stat = path.read_bytes(), ImageFolder(str(folder)), path.stat()
    first = dataset_digest(source)
    change(path, before[:-1] + bytes([before[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert dataset_digest(source) not in (None, first)


def test_a_link_to_another_file_and_another_working_directory_are_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = folder / "0" / "link.png"
    link.symlink_to(folder / "0" / "0.png")
    monkeypatch.chdir(folder)
    source = ImageFolder(".")
    first = dataset_digest(source)
    link.unlink()
    link.symlink_to(folder / "0" / "2.png")
    assert dataset_digest(source) not in (None, first)
    shutil.copytree(folder, folder.parent / "other")
    second = dataset_digest(source)
    monkeypatch.chdir(folder.parent / "other")
    assert dataset_digest(source) not in (None, second)


def test_a_young_file_is_not_believed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageFolder(str(folder))
    assert dataset_digest(source) is not None
    monkeypatch.setattr(fingerprint, "YOUNG_SECONDS", 1000.0)
    assert dataset_digest(source) is None


def test_another_version_of_a_decoder_is_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    first = dataset_digest(TensorDataset(IMAGES, LABELS))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.2.3")
    assert dataset_digest(TensorDataset(IMAGES, LABELS)) not in (None, first)


def test_another_process_computes_the_same_digest() -> None:
    code = (
        "import torch; from torch.utils.data import TensorDataset;"
        "from condensed_data.data.fingerprint import dataset_digest;"
        "x = torch.arange(60 * 12, dtype=torch.float32).view(60, 1, 3, 4) / 720;"
        "print(dataset_digest(TensorDataset(x, torch.arange(60) % 3)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == dataset_digest(TensorDataset(IMAGES, LABELS))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_fingerprint_depends_on_the_content_only(workers: int) -> None:
    as_tensors = read(inspect(TensorDataset(IMAGES, LABELS)), progress=False)

    class Items(Dataset[Any]):
        def __len__(self) -> int:
            return len(IMAGES)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return IMAGES[index], int(LABELS[index])

    as_items = read(inspect(Items(), workers), progress=False)
    assert as_items.fingerprint == as_tensors.fingerprint
    assert torch.equal(as_items.space.mean, as_tensors.space.mean)
    changed = IMAGES.clone()
    changed[0, 0, 0, 0] = 0.5
    assert read(inspect(TensorDataset(changed, LABELS)), progress=False).fingerprint != as_tensors.fingerprint
    swapped = LABELS.clone()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert read(inspect(TensorDataset(IMAGES, swapped)), progress=False).fingerprint != as_tensors.fingerprint
