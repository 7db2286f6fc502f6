"""Pictures of one code through every decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Recipe, recipes
from condensed_data.cli.main import main
from condensed_data.evaluation.plots_decoders import decoders
from condensed_data.methods.synthetic import Pixels
from condensed_data.networks import ConvNet

SMALL: dict[str, Any] = {"iterations": 1, "batch": 4, "network": ConvNet(width=4, depth=1)}


def build(recipe: Recipe) -> CondensedDataset:
    images = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    source = TensorDataset(images, torch.arange(24) % 3)
    return CondensedDataset(source, recipe, cache=False, progress=False, device="cpu")


def core(part: Any) -> Any:
    return core(part.inner) if hasattr(part, "inner") else part


@pytest.mark.parametrize("name", ["haba on dm", "haba on idc", "kfs"])
def test_one_code_through_every_decoder(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "kfs":
        recipe = recipes.kfs(ipc=5, channels=1, width=2, codes=2, fit=2, **SMALL)
    else:
        recipe = recipes.haba(name.split()[-1], ipc=5, hallucinators=3, **SMALL)
    condensed = build(recipe)
    columns = 2 if name == "kfs" else 4
    assert decoders(condensed).width > columns * 56
    condensed.save(tmp_path / "set")
    words = ["show", str(tmp_path / "set"), "--decoders", "--out", str(tmp_path / "decoders.png")]
    assert main(words) == 0
    assert "image of its decoders" in capsys.readouterr().out
    assert (tmp_path / "decoders.png").stat().st_size > 0
    if name == "haba on dm":  # without cutting, they are the first samples of each class
        stored = condensed.stored
        assert stored is not None
        index = torch.tensor([0])
        synthetic_data = core(recipe.synthetic).restore(stored, condensed.class_indices, (1, 8, 8))
        torch.testing.assert_close(condensed.metadata.space.restore(synthetic_data.decode(index)), condensed.images[:1])


def test_plotting_decoders_needs_decoders() -> None:
    for recipe in (recipes.random(ipc=2), recipes.fred("dm", 2, **SMALL)):
        with pytest.raises(ValueError, match=r"not decoded from codes\. Use a dataset condensed by haba or kfs"):
            decoders(build(recipe))
    assert isinstance(recipes.random().synthetic, Pixels)
