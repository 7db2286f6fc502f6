"""Selected samples are stored in the source's own dtype, and come back as exactly the values of the source."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.core.errors import ArtifactError
from condensed_data.core.sizes import format_bytes
from condensed_data.networks import ConvNet
from condensed_data.storage import artifact

COUNT = 24
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
LABELS = torch.arange(COUNT) % 2


def pictures(mode: str) -> list[tuple[Image.Image, int]]:
    return [(Image.fromarray(p).convert(mode), int(label)) for p, label in zip(PIXELS, LABELS, strict=True)]


def of_dtype(dtype: torch.dtype) -> TensorDataset:
    values = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    return TensorDataset((values if dtype == torch.uint8 else (values / 255 - 0.3) * 2).to(dtype), LABELS)


SOURCES: dict[str, tuple[Any, torch.dtype]] = {
    "gray": (pictures("L"), torch.uint8),
    "RGB": (pictures("RGB"), torch.uint8),
    "RGBA": (pictures("RGBA"), torch.uint8),
    "uint8": (of_dtype(torch.uint8), torch.uint8),
    "float16": (of_dtype(torch.float16), torch.float16),
    "bfloat16": (of_dtype(torch.bfloat16), torch.bfloat16),
    "float32": (of_dtype(torch.float32), torch.float32),
    "float64": (of_dtype(torch.float64), torch.float32),
}


def build(source: Any, recipe: Any) -> CondensedDataset:
    return CondensedDataset(source, recipe, cache=False, progress=False, device="cpu", precision="fp32")


def stored(condensed: CondensedDataset, folder: Path) -> Tensor:
    condensed.save(folder)
    return artifact.read(folder).tensors["images"]


def as_values(sample: Any) -> Tensor:
    if isinstance(sample, Tensor):
        return sample.float()
    pixels = torch.from_numpy(np.array(sample))
    return (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)).float() / 255


@pytest.mark.parametrize("recipe", ["random", "herding", "k_center"])
@pytest.mark.parametrize("name", SOURCES)
def test_selected_samples_are_stored_as_the_source_has_them(tmp_path: Path, name: str, recipe: str) -> None:
    source, dtype = SOURCES[name]
    options = {} if recipe == "random" else {"features": "raw"}
    made = build(source, recipes.get(recipe, ipc=3, **options))
    kept = stored(made, tmp_path)
    assert kept.dtype == dtype
    assert made.images.dtype == torch.float32
    assert f"in {format_bytes(made.stored_bytes)}" in repr(made)
    assert made.stored_bytes == kept.numel() * kept.element_size() + 8 * len(made)
    loaded = CondensedDataset.load(tmp_path)
    assert torch.equal(loaded.images, made.images)
    assert (loaded.stored_bytes, loaded.stored_floats) == (made.stored_bytes, made.images.numel())
    if dtype != torch.float32:
        real = torch.stack([as_values(source[index][0]) for index in range(COUNT)])
        assert all(any(torch.equal(image, other) for other in real) for image in made.images)


@pytest.mark.parametrize("name", ["RGB", "uint8", "float16"])
def test_what_is_learned_is_stored_in_full_precision(tmp_path: Path, name: str) -> None:
    recipe = recipes.dm(ipc=2, iterations=1, batch=4, lr=1e-6, network=ConvNet(width=4, depth=2))
    made = build(SOURCES[name][0], recipe)
    assert stored(made, tmp_path).dtype == torch.float32
    assert torch.equal(CondensedDataset.load(tmp_path).images, made.images)


def test_the_preview_shows_the_selected_pictures(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    made = build(SOURCES["RGB"][0], recipes.random(3))
    stored(made, tmp_path)
    rows = pq.read_table(next((tmp_path / "data").glob("*.parquet")))
    with Image.open(io.BytesIO(rows.column("image")[0].as_py()["bytes"])) as image:
        assert np.array_equal(np.array(image), np.array(made[0][0]))


def test_images_of_whole_numbers_of_64_bits_are_refused(tmp_path: Path) -> None:
    made = build(SOURCES["uint8"][0], recipes.random(3))
    tensors = made.result.tensors() | {"images": made.images.long()}
    with pytest.raises(ArtifactError, match="of uint8 or a float type"):
        artifact.write(tmp_path, tensors, made.metadata.to_manifest(), card="", preview=False)
