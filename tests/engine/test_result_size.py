"""The size of a result is multiplied out before it is allocated, and an `ipc` that condenses nothing is a warning."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, condense_tensors, recipes
from condensed_data.data import sample_store
from condensed_data.data.sample_store import TooLargeError
from condensed_data.engine.memory_estimate import check_result
from condensed_data.methods.recipe import Recipe
from condensed_data.networks import ConvNet
from condensed_data.plotting.grid import grid

SHAPE = (1, 8, 8)
UNEQUAL = TensorDataset(torch.arange(9 * 64).view(9, *SHAPE) / 576, torch.tensor([0] * 5 + [1] * 4))


class Counting(TensorDataset):
    """Counts the samples that are read."""

    reads = 0

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return super().__getitem__(index)


def build(source: Any, recipe: Any, **options: Any) -> CondensedDataset:
    return CondensedDataset(source, recipe, cache=False, progress=False, device="cpu", **options)


@pytest.mark.parametrize("name", recipes.names())
def test_a_result_larger_than_memory_is_refused(name: str) -> None:
    recipe = recipes.get(name, ipc=10**10).resolve((3, 32, 32), ["a", "b"])
    with pytest.raises(TooLargeError, match=r"ipc=10,000,000,000 with 2 classes .* Use a smaller ipc"):
        check_result(recipe, (3, 32, 32), 2)
    small = recipes.get(name, ipc=10).resolve((3, 32, 32), ["a", "b"])
    check_result(small, (3, 32, 32), 2)


def test_one_class_too_large_is_refused_before_reading() -> None:
    source = Counting(*UNEQUAL.tensors)
    for recipe in ("random", "dm", "idm", "haba"):
        with pytest.raises(TooLargeError, match="ipc=10,000,000,000 with 1 class"):
            build(source, recipe, ipc=10**10)
    assert source.reads < 40 * len(UNEQUAL)  # the samples that are looked at, not all of them at every turn
    with pytest.raises(TooLargeError, match="ipc=10,000,000,000"):
        condense_tensors(*UNEQUAL.tensors, recipes.random(10**10))


def test_several_classes_too_large_are_refused_before_they_are_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_store, "available_memory", lambda: 3000)  # one class of four needs 2,048 bytes
    with pytest.raises(TooLargeError, match=r"ipc=4 with 2 classes .* is 8 samples, which needs 4.1 kB"):
        build(UNEQUAL, "random", ipc=4)


@pytest.mark.parametrize(
    ("recipe", "samples"),
    [
        (recipes.dm(10), 10),
        (recipes.idm(10, factor=3), 90),
        (recipes.dd(10), 10),
        (recipes.haba("dm", ipc=10), 50),
        (recipes.random(10), 10),
    ],
)
def test_decoded_samples_are_counted(recipe: Recipe, samples: int) -> None:
    resolved = recipe.resolve((1, 28, 28), ["a", "b"])
    assert resolved.synthetic.samples_per_class(10, (1, 28, 28)) == samples


@pytest.mark.parametrize(("ipc", "message"), [(5, "class '1' has only 4"), (6, r"'0' has only 5 samples \(1 more")])
def test_a_selection_of_more_than_a_class_is_a_warning(ipc: int, message: str) -> None:
    with pytest.warns(UserWarning, match=rf"ipc={ipc}, but .*{message}.*its samples are repeated"):
        build(UNEQUAL, "random", ipc=ipc)


@pytest.mark.parametrize("ipc", [4, 5])
def test_learned_samples_that_are_no_fewer_than_the_real_ones_are_a_warning(ipc: int) -> None:
    with pytest.warns(UserWarning, match=rf"ipc={ipc}, but .*no fewer than the real ones"):
        build(UNEQUAL, "dm", ipc=ipc, iterations=1, network=ConvNet(4, 1))


def test_fewer_samples_and_memories_of_few_samples_are_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(UNEQUAL, "random", ipc=4)
        build(UNEQUAL, "dm", ipc=3, iterations=1, network=ConvNet(4, 1))
        condense_tensors(*UNEQUAL.tensors, recipes.random(6))


def test_a_test_set_larger_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    condensed = build(UNEQUAL, "random", ipc=2)
    monkeypatch.setattr(sample_store, "available_memory", lambda: 1000)
    with pytest.raises(TooLargeError, match=r"test_set has 9 samples of shape \(1, 8, 8\), which needs"):
        condensed.evaluate(UNEQUAL)


def test_a_picture_of_too_many_samples_is_refused() -> None:
    images = torch.zeros(1, *SHAPE).expand(20_001, *SHAPE)
    with pytest.raises(
        ValueError, match=r"grid\(\) would draw 20,001 samples, more than 20,000. Use a smaller per_class"
    ):
        grid(images, [0] * 20_001, ["a"], per_class=None)
