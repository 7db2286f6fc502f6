"""Samples learned at lower resolution, and centroids as their initial values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.methods.centroids import Centroids, centroids
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import LowResolution, Pixels
from condensed_data.methods.synthetic.low_resolution import downsample
from condensed_data.methods.synthetic.multi_formation import upsample


def _recipe(factor: int, iterations: int = 2) -> Recipe:
    whole = recipes.dm(ipc=3, iterations=iterations, batch=4, network="convnet-d2-w4")
    return whole.set(synthetic=LowResolution(Pixels(Centroids()), factor))


def test_small_samples_are_learned_stored_and_upsampled(tiny_images: TensorDataset, tmp_path: Path) -> None:
    found = CondensedDataset(tiny_images, _recipe(2), cache=False, progress=False)
    assert found.images.shape == (9, 1, 12, 12)
    assert found.stored_floats == 9 * 6 * 6
    begun = CondensedDataset(tiny_images, _recipe(2, iterations=1), cache=False, progress=False)
    assert not torch.equal(found.images, begun.images)
    found.save(tmp_path / "dataset")
    torch.testing.assert_close(CondensedDataset.load(tmp_path / "dataset").images, found.images)


def test_factor_one_is_pixels(tiny_images: TensorDataset) -> None:
    whole = _recipe(1).set(synthetic=Pixels(Centroids()))
    sets = [CondensedDataset(tiny_images, recipe, cache=False, progress=False) for recipe in (_recipe(1), whole)]
    torch.testing.assert_close(sets[0].images, sets[1].images)


def test_constant_samples_survive_both_directions() -> None:
    flat = torch.full((2, 3, 9, 7), 0.25)
    small = downsample(flat, 2)
    assert small.shape == (2, 3, 5, 4)
    torch.testing.assert_close(upsample(small, (9, 7)), flat)


def test_vectors_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"LowResolution\(factor=2\).*vectors"):
        LowResolution(factor=2).check((6,))
    with pytest.raises(ValueError, match="factor"):
        LowResolution(factor=0)


def test_centroids_are_means_of_clusters_the_largest_first() -> None:
    rows = torch.tensor([[0.0, 0], [0, 2], [0, 1], [9, 9]])
    torch.testing.assert_close(centroids(rows, 2, 0), torch.tensor([[0.0, 1], [9, 9]]))
    assert centroids(rows[:1], 3, 0).tolist() == [[0.0, 0]] * 3
