"""Digests are equal for equal content, also in another process, and change with anything that changes the samples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, ToTensor

from condensed_data.data.fingerprint import dataset_digest
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


def test_a_changed_pixel_label_or_transform_changes_the_digest() -> None:
    pixels, labels = IMAGES.clone(), LABELS.clone()
    pixels[17, 0, 1, 1] += 1e-3
    labels[9] = 2
    found = [
        dataset_digest(TensorDataset(IMAGES, LABELS)),
        dataset_digest(TensorDataset(pixels, LABELS)),
        dataset_digest(TensorDataset(IMAGES, labels)),
        dataset_digest(Subset(TensorDataset(IMAGES, LABELS), range(50))),
        dataset_digest(Arrays(IMAGES.numpy())),
        dataset_digest(Arrays(IMAGES.numpy(), Normalize((0.0,), (2.0,)))),
        dataset_digest(Arrays(IMAGES.numpy(), Normalize((0.5,), (2.0,)))),
        dataset_digest(Arrays(IMAGES.numpy(), lambda x: x + 1)),
        dataset_digest(Arrays(IMAGES.numpy(), lambda x: x + 2)),
    ]
    assert None not in found
    assert len(set(found)) == len(found)


def test_opaque_datasets_have_no_digest(tmp_path: Path) -> None:
    dataset = Arrays(IMAGES.numpy())
    with open(tmp_path / "file", "wb") as file:
        dataset.file = file  # type: ignore[attr-defined]
        assert dataset_digest(dataset) is None


def test_a_folder_is_identified_by_paths_sizes_and_times(tmp_path: Path) -> None:
    for number in range(6):
        folder = tmp_path / str(number % 2)
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), number * 40, np.uint8)).save(folder / f"{number}.png")
    transform = Compose([ToTensor()])
    before = dataset_digest(ImageFolder(str(tmp_path), transform))
    assert before == dataset_digest(ImageFolder(str(tmp_path), transform)) is not None
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(tmp_path / "0" / "0.png")
    assert dataset_digest(ImageFolder(str(tmp_path), transform)) != before


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
