"""Hostile encodings: what a few bytes of a manifest can request is bounded before memory is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import TensorDataset

from condensed_data import ArtifactError, CondensedDataset, UnsupportedFormatError, recipes
from condensed_data.core import spec as specs
from condensed_data.data.value_space import SampleKind
from condensed_data.methods.synthetic import MultiFormation, Pixels
from condensed_data.methods.synthetic.decoders import LatentDecoder
from condensed_data.methods.synthetic.decoding import decode_all, decode_artifact
from condensed_data.methods.synthetic.factorized import Factorized
from condensed_data.storage import artifact as artifact
from condensed_data.storage.result import CondensationResult

SHAPE, LABELS = (1, 8, 8), torch.arange(3).repeat_interleave(8)
LIMIT = 1 << 20
PARTS = {"images": torch.zeros(6, *SHAPE)}
FACTORIZED = Factorized(LatentDecoder(channels=2, width=4), decoders=2)
WEIGHTS = 2 * 4 * 16 + 4 + 4 * 1 * 16 + 1
CODES = {"codes": torch.zeros(12, 2, 2, 2), "decoders": torch.zeros(2, WEIGHTS)}


def decode(encoding: dict[str, Any], parts: dict[str, torch.Tensor], **changes: Any) -> torch.Tensor:
    given: dict[str, Any] = {"labels": LABELS, "sample_shape": SHAPE, "max_bytes": LIMIT, **changes}
    return decode_artifact(encoding, parts, path=Path("dataset"), **given)[1]


def test_valid_encodings_are_decoded() -> None:
    with Largest() as largest:
        decode(specs.to_json(MultiFormation()), PARTS)
    assert largest.numel == 24 * 64
    assert decode(specs.to_json(MultiFormation()), PARTS).shape == (24, *SHAPE)
    assert decode(specs.to_json(FACTORIZED), CODES).shape == (24, *SHAPE)


def test_rows_are_decoded_in_chunks() -> None:
    rows = torch.rand(600, *SHAPE, generator=torch.Generator().manual_seed(0))
    synthetic_data = Pixels().restore({"images": rows}, torch.zeros(600, dtype=torch.int64), SHAPE)
    assert torch.equal(decode_all(synthetic_data), rows)


def test_too_many_samples_are_rejected() -> None:
    with pytest.raises(ArtifactError, match=r"samples of 6144 bytes.*raise max_bytes"):
        decode(specs.to_json(MultiFormation()), PARTS, max_bytes=6143)


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that is created."""

    numel = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        created = (leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor) and not leaf.is_meta)
        self.numel = max([self.numel, *(tensor.numel() for tensor in created)])
        return result


HOSTILE: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]] = {
    "cells without end": ({**specs.to_json(MultiFormation()), "factor": 60_000}, PARTS),
    "a number without end": ({**specs.to_json(MultiFormation()), "factor": 10**12}, PARTS),
    "no factor": ({**specs.to_json(MultiFormation()), "factor": 0}, PARTS),
    "no number": ({**specs.to_json(MultiFormation()), "factor": "2"}, PARTS),
    "a missing tensor": (specs.to_json(MultiFormation()), {}),
    "other tensors": (specs.to_json(MultiFormation()), {"images": torch.zeros(6, 7)}),
    "fewer tensors": (specs.to_json(MultiFormation()), {"images": torch.zeros(5, *SHAPE)}),
    "another part": (specs.to_json(LatentDecoder()), CODES),
    "wide decoders": (specs.to_json(Factorized(LatentDecoder(2, 60_000), decoders=2)), CODES),
    "many channels": (specs.to_json(Factorized(LatentDecoder(60_000, 60_000), decoders=2)), CODES),
    "fewer codes": (specs.to_json(FACTORIZED), {**CODES, "codes": torch.zeros(11, 2, 2, 2)}),
    "flat decoders": (specs.to_json(FACTORIZED), {**CODES, "decoders": torch.zeros(2 * WEIGHTS)}),
    "endless values": (specs.to_json(FACTORIZED), {**CODES, "decoders": torch.full((2, WEIGHTS), 3e38)}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_mismatches_are_rejected_without_large_allocations(name: str) -> None:
    encoding, parts = HOSTILE[name]
    with pytest.raises(ArtifactError, match=r"^dataset: found"), Largest() as largest:
        decode(encoding, parts)
    assert largest.numel <= 24 * 64


def test_an_unknown_part_asks_for_an_upgrade() -> None:
    with pytest.raises(UnsupportedFormatError, match="pip install --upgrade condensed-data"):
        decode({"part": "Hologram", "version": 1}, PARTS)


@pytest.mark.parametrize(
    "changes",
    [
        {
            "training": {
                "part": "Pixels",
                "version": 1,
                "init": {"part": "Random", "version": 1},
                "clamp": False,
            }
        },
        {"training": {"part": "Training", "version": 1, "lr": "fast"}},
        {"training": {}},
        {"evaluation": [{"network": "convnet"}]},
        {"evaluation": [{"accuracies": 3}]},
        {"baselines": [{"set": "random"}]},
        {"sample_kind": "pil:CMYK"},
        {"sample_kind": "pil:RGB"},
        {"sample_kind": "tensor:complex64"},
        {"sample_kind": "tensor:load"},
        {"cache_key": "x"},
        {"num_samples": 0},
    ],
)
def test_inconsistent_fields_are_rejected(tmp_path: Path, tiny_images: TensorDataset, changes: dict[str, Any]) -> None:
    result = CondensedDataset(tiny_images, recipes.random(ipc=1), cache=False, progress=False).result
    tensors = {"images": result.images, "labels": result.labels}
    manifest = result.metadata.to_manifest() | changes

    def written_and_read() -> None:
        artifact.write(tmp_path, tensors, manifest, card="")
        CondensationResult.load(tmp_path)

    with pytest.raises(ArtifactError):
        written_and_read()


@pytest.mark.parametrize(
    "recipe",
    [
        {"part": "Pixels"},
        {"part": "Recipe", "terms": 3},
        {"part": "NamedCallable", "name": "x"},
        {"x": [[]]},
        {},
    ],
)
def test_a_recipe_that_cannot_be_rebuilt_is_kept_as_json(
    tmp_path: Path, tiny_images: TensorDataset, recipe: dict[str, Any]
) -> None:
    result = CondensedDataset(tiny_images, recipes.random(ipc=1), cache=False, progress=False).result
    manifest = result.metadata.to_manifest() | {"recipe": recipe}
    artifact.write(tmp_path / "dataset", {"images": result.images, "labels": result.labels}, manifest, card="")
    assert CondensedDataset.load(tmp_path / "dataset").recipe == recipe


def test_kinds() -> None:
    assert SampleKind.from_name("pil:RGB", (3, 4, 4)) == SampleKind("pil:RGB", (3, 4, 4))
    assert SampleKind.from_name("tensor:bfloat16", (7,)) == SampleKind("tensor:bfloat16", (7,))
