"""Image datasets of the `datasets` library, and repositories of the test server that contain them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
from hub_server import HubServer
from PIL import Image

NAMES = ["ant", "bee", "cat"]


def picture(seed: int, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def rows(
    count: int = 12,
    modes: Sequence[str] = ("RGB",),
    sizes: Sequence[tuple[int, int]] = ((8, 8),),
    first: int = 0,
    **more: tuple[Any, Any],
) -> datasets.Dataset:
    """An image dataset with cyclic labels, unless `more` (column=(values, feature)) gives other columns."""
    pictures = [picture(first + i, modes[i % len(modes)], sizes[i % len(sizes)]) for i in range(count)]
    columns = more or {"label": ([i % 3 for i in range(count)], datasets.ClassLabel(names=NAMES))}
    features = {"image": datasets.Image(), **{name: feature for name, (_, feature) in columns.items()}}
    values = {"image": pictures, **{name: value for name, (value, _) in columns.items()}}
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def parquet(table: datasets.Dataset) -> bytes:
    sink = io.BytesIO()
    table.to_parquet(sink)
    return sink.getvalue()


_NUMBERS = itertools.count()


def publish(hub: HubServer, files: Mapping[str, datasets.Dataset | bytes], **settings: Any) -> str:
    """Create a repository with these files; returns its name."""
    name = f"bob/pictures-{next(_NUMBERS)}"
    contents = {path: file if isinstance(file, bytes) else parquet(file) for path, file in files.items()}
    hub.add_repo(name, contents, **settings)
    return name


def both(train: datasets.Dataset | None = None, test: datasets.Dataset | None = None) -> dict[str, Any]:
    """A train and a test file."""
    names = ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet")
    return dict(zip(names, (train or rows(), test or rows(6, first=100)), strict=True))
