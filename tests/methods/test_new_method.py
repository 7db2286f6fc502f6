"""A method that is added the documented way works by its name and passes the exam."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import exam
import pytest
from torch.utils.data import TensorDataset

import condensed_data
from condensed_data import recipes
from condensed_data.cli.main import main
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.recipes import registry

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "new_method.py"

# all that a new method needs: one file in condensed_data/methods/recipes/
TOY = '''
"""Methods that pull samples together."""

from dataclasses import dataclass

import torch

from condensed_data.data.augment import Identity
from condensed_data.core.batch import NetworkView, Pair
from condensed_data.methods.base import Objective
from condensed_data.methods.coresets import Random
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.recipes.registry import register
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.synthetic import Pixels


@dataclass(frozen=True)
class Shrink(Objective):
    """Mean squared embedding of the synthetic samples, summed over groups."""

    def __call__(self, net: NetworkView, pair: Pair) -> torch.Tensor:
        return pair.synthetic.means(net.embed(pair.synthetic.x).square()).sum()


@register
def toy(ipc: int = 10, iterations: int = 4) -> Recipe:
    """A toy: samples with small embeddings."""
    term = Term(Shrink(), RandomInit("convnet-d2-w8"), PerGroup(8), Identity())
    return Recipe("toy", Pixels(Random()), (term,), Optimizer(lr=0.1), iterations, ipc)
'''

EXAM_OF_TOY = """
import sys
from pathlib import Path

import exam
import torch
from torch.utils.data import TensorDataset

import condensed_data
from condensed_data import CondensedDataset, recipes
from condensed_data.cli.main import main

folder = Path(sys.argv[1])
assert Path(condensed_data.__file__).is_relative_to(folder)
assert "toy" in recipes.names()
assert recipes.toy(ipc=2) == recipes.get("toy", ipc=2) == recipes.parse("toy(ipc=2)")
source = TensorDataset(torch.randn(24, 1, 8, 8), torch.arange(24) % 3)
exam.core(recipes.toy(ipc=2), source, folder)
condensed = CondensedDataset(source, "toy", ipc=2, cache=False, progress=False)
assert len(condensed) == 6
sys.exit(main(["recipes"]))
"""


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what a test registers after it."""
    monkeypatch.setattr(registry, "_FUNCTIONS", dict(registry._FUNCTIONS))


def test_a_new_file_is_all_that_a_method_needs(tmp_path: Path) -> None:
    package = tmp_path / "condensed_data"
    shutil.copytree(Path(condensed_data.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "methods" / "recipes" / "toy.py").write_text(TOY, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", EXAM_OF_TOY, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "A toy: samples with small embeddings." in done.stdout


def test_the_method_of_the_example_passes_the_exam(
    registered: None, tiny_images: TensorDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("new_method", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    recipe = recipes.get("moments", ipc=2, iterations=exam.ITERATIONS).set(network=exam.NET, batch=8)
    exam.core(recipe, tiny_images, tmp_path)
    assert recipes.moments(2).name == "moments"  # type: ignore[attr-defined]
    assert exam.build(tiny_images, "moments", ipc=1).recipe.name == "moments"
    assert main(["recipes", "moments"]) == 0
    assert "Distribution matching with means and standard deviations." in capsys.readouterr().out


def test_one_name_belongs_to_one_function(registered: None) -> None:
    def mine(ipc: int = 10) -> Recipe:
        return recipes.random(ipc)

    for _ in range(2):  # as a notebook cell that is run again
        assert recipes.register(mine)(3) == recipes.random(3)
    assert recipes.get("mine", ipc=3) == recipes.random(3)

    def dm(ipc: int = 10) -> Recipe:
        return recipes.random(ipc)

    with pytest.raises(ValueError, match=r"'dm' is already registered by condensed_data\..*Rename"):
        recipes.register(dm)
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'.*Known recipes: bdm"):
        _ = recipes.nothing  # type: ignore[attr-defined]
