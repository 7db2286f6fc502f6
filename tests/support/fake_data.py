"""Small datasets on disk in the layouts that the package reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def fashion_mnist(root: Path, train: int = 30, test: int = 20) -> None:
    """Fashion-MNIST in torchvision's layout, with `train` and `test` images of learnable patterns."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count, seed in (("train", train, 0), ("t10k", test, 1)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        noise = np.random.default_rng(seed).integers(0, 60, (count, 28, 28))
        images = (noise + 18 * labels[:, None, None]).astype(np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(images))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(_idx(labels))


def _idx(array: np.ndarray) -> bytes:
    """The IDX format of MNIST: a magic number (8 for bytes, then the number of dimensions), sizes, content."""
    magic = np.array([8 * 256 + array.ndim, *array.shape], dtype=">i4")
    return magic.tobytes() + array.tobytes()


def image_folder(root: Path, classes: dict[str, tuple[int, ...]], mode: str = "RGB", count: int = 4) -> None:
    """`count` images of different sizes per class; `classes` maps names to colors, `mode` is that of the files."""
    for name, color in classes.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            image = Image.new("RGB", (12 + index, 10), color).convert(mode)
            image.save(root / name / f"{index}.png")
