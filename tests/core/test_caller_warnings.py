"""Tests of warnings that name a line of the user's program."""

from __future__ import annotations

import warnings

import torch
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes


def test_a_warning_names_the_line_of_the_caller() -> None:
    source = TensorDataset(torch.randn(8, 3), torch.arange(8) % 2)
    recipe = recipes.random(1).set(labels_from=lambda images: images[:, :2])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CondensedDataset(source, recipe, progress=False)
    (warning,) = caught
    assert "will not be cached" in str(warning.message)
    assert warning.filename == __file__
