"""Shards of different builds are refused; machines of several kinds are all named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.storage.result import CondensationResult
from condensed_data.storage.shards import merge


def shards(source: TensorDataset, **changes: Any) -> list[CondensationResult]:
    """The three shards of a build without a cache."""
    recipe = recipes.dm(ipc=1, iterations=1).set(network="convnet-d1-w4", **changes)
    options: dict[str, Any] = {"cache": False, "progress": False, "device": "cpu"}
    return [CondensedDataset(source, recipe, shard=f"{i}/3", **options).result for i in (1, 2, 3)]


def changed(result: CondensationResult, **fields: Any) -> CondensationResult:
    return replace(result, metadata=replace(result.metadata, **fields))


def test_shards_of_another_source_are_refused_without_a_cache_too(
    tiny_images: TensorDataset, tiny_test_images: TensorDataset
) -> None:
    one, other = shards(tiny_images), shards(tiny_test_images)
    with pytest.raises(ValueError, match="of different builds: their fingerprint differs"):
        merge([one[0], other[1], one[2]])
    one_pixel = tiny_images.tensors[0].clone()
    one_pixel[7, 0, 3, 3] += 0.01
    other = shards(TensorDataset(one_pixel, tiny_images.tensors[1]))
    with pytest.raises(ValueError, match="their fingerprint differs"):
        merge([*one[:2], other[2]])


@pytest.mark.parametrize("field", ["ipc", "iterations"])
def test_shards_of_another_recipe_are_refused(tiny_images: TensorDataset, field: str) -> None:
    one, other = shards(tiny_images), shards(tiny_images, **{field: 2})
    with pytest.raises(ValueError, match="their recipe differs"):
        merge([one[0], other[1], one[2]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_values": (4, 5, 6)}, r"class_values differs: \(0, 1, 2\) and \(4, 5, 6\)"),
        ({"source_samples": 61}, "source_samples differs: 60 and 61"),
        ({"seed": 1}, "seed differs"),
    ],
)
def test_shards_that_differ_otherwise_are_refused(
    tiny_images: TensorDataset, fields: dict[str, Any], message: str
) -> None:
    one = shards(tiny_images)
    with pytest.raises(ValueError, match=message):
        merge([one[0], changed(one[1], **fields), one[2]])


def test_no_shards_are_refused() -> None:
    with pytest.raises(ValueError, match=r"merge\(\[\]\) has no shards. Give all shards"):
        merge([])


def test_all_machines_are_named(tiny_images: TensorDataset) -> None:
    one = shards(tiny_images)
    environment = {**one[1].metadata.environment, "device": "cuda", "torch": "2.6.0"}
    merged = merge([one[0], changed(one[1], environment=environment), one[2]]).metadata.environment
    assert merged["device"] == "cpu, cuda"
    assert merged["torch"] == f"{one[0].metadata.environment['torch']}, 2.6.0"
    assert merged["python"] == one[0].metadata.environment["python"]
