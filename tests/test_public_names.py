"""What `condensed_data` offers at its top level, and when it is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import condensed_data


def test_every_public_name_can_be_used() -> None:
    for name in condensed_data.__all__:
        assert getattr(condensed_data, name) is not None, name
    assert set(condensed_data.__all__) <= set(dir(condensed_data))


def test_names_come_from_where_they_are_defined() -> None:
    from condensed_data import CondensedDataset, Recipe, recipes
    from condensed_data.methods.recipe import Recipe as Original

    assert Recipe is Original
    assert isinstance(recipes.dm(), Recipe)
    assert CondensedDataset.__module__ == "condensed_data.dataset"


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse(Path(str(condensed_data.__file__)).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imports | {"__version__"} == set(condensed_data.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'condense_everything'"):
        _ = condensed_data.condense_everything


def test_importing_the_package_imports_no_torch() -> None:
    code = "import condensed_data, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "numpy"}.isdisjoint(done.stdout.split())
