"""The storage size of a dataset: counted as stored, and reported as the same number everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.cli.reporting import format_build
from condensed_data.core.sizes import format_bytes
from condensed_data.networks import ConvNet
from condensed_data.storage import artifact as artifact
from condensed_data.storage.dataset_card import card

NET = ConvNet(width=4, depth=1)
PIXELS = 3 * 2 * 144  # classes, samples of a class, values of a sample
MADE: dict[str, tuple[dict[str, Any], int, int]] = {  # recipe and arguments, samples, numbers
    "dm": ({}, 6, PIXELS),
    "idm": ({}, 24, PIXELS),
    "haba": ({"hallucinators": 1, "contrast": 0}, 3, 3 * 144 + 220),
    "kfs": ({"channels": 1, "width": 4, "codes": 3, "fit": 2}, 18, 3 * 3 * 9 + 2 * (4 * 16 + 4 + 4 * 16 + 1)),
    "fred": ({"fraction": 0.25}, 24, PIXELS + -(-3 * 144 // 32)),
}


@pytest.mark.parametrize("name", MADE)
def test_stored_floats_are_the_same_everywhere(name: str, tiny_images: TensorDataset, tmp_path: Path) -> None:
    arguments, samples, floats = MADE[name]
    recipe = recipes.get(name, ipc=2, iterations=1, batch=4, network=NET, **arguments)
    condensed = CondensedDataset(tiny_images, recipe, cache=False, progress=False)
    assert len(condensed) == samples
    assert condensed.stored_floats == floats
    assert f"stored as {floats:,} numbers" in repr(condensed)
    assert f"stored as {floats:,} numbers" in card(condensed.metadata)
    assert f"-> {format_bytes(4 * floats)}\n" in format_build(condensed, None)
    condensed.save(tmp_path)
    assert artifact.read_manifest(tmp_path)["stored_floats"] == floats
    kept = artifact.read(tmp_path).tensors
    assert ("images" in kept) == (name == "dm")
    loaded = CondensedDataset.load(tmp_path)
    assert loaded.stored_floats == floats
    assert torch.equal(loaded.images, condensed.images)
    assert len(loaded) == samples
