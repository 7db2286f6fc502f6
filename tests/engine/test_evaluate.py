"""Test sets that do not fit the condensed samples are refused: another number would be measured, and nobody would know.

Letters: n test samples.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.data.dc_augment import DCAugment
from condensed_data.data.sample import SourceError
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import dc

NAMES = ["cat", "dog", "fox"]


def colored(n: int = 90, seed: int = 0) -> Tensor:
    """Images (n, 3, 6, 6) in [0, 1] whose channels differ as much as those of natural images."""
    noise = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return noise * 0.8 + torch.tensor([0.14, 0.1, 0.02])[:, None, None]


def labeled(samples: Tensor, names: list[str] | None = None, labels: Tensor | None = None) -> TensorDataset:
    found = TensorDataset(samples, torch.arange(len(samples)) % 3 if labels is None else labels)
    if names is not None:
        found.classes = names
    return found


@pytest.fixture
def condensed() -> CondensedDataset:
    options: dict[str, Any] = {"cache": False, "progress": False, "device": "cpu"}
    return CondensedDataset(labeled(colored(), NAMES), recipes.random(ipc=2), **options)


def test_the_same_values_in_another_dtype_are_the_same_test(condensed: CondensedDataset) -> None:
    options: dict[str, Any] = {"network": "convnet-d1-w4", "runs": 1, "training": "quick", "progress": False}
    plain, *others = (
        condensed.evaluate(labeled(samples, names), **options)
        for samples, names in [
            (colored(seed=1), NAMES),
            (colored(seed=1).double(), None),
            (colored(seed=1).to(memory_format=torch.channels_last), ["Katze", "Hund", "Fuchs"]),
        ]
    )
    assert all(other.accuracies == plain.accuracies for other in others)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * 255, "another value space"),
        (lambda x: (x * 255).byte(), "another value space"),
        (lambda x: x * 2 - 1, "another value space"),
        (lambda x: (x - x.mean()) / x.std(), "another value space"),
        (lambda x: 1 - x * 0.1, "another value space"),
        (lambda x: x.flip(1), r"reverse order \(BGR instead of RGB\).*image\[\[2, 1, 0\]\]"),
        (lambda x: x[:, :, :5], r"has samples of shape \(3, 5, 6\)"),
        (lambda x: x.where(x < 0.9, torch.nan), r"test_set: source\[\d+\] contains NaN"),
    ],
)
def test_another_value_space_is_refused(condensed: CondensedDataset, change: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        condensed.standardized("test_set", labeled(change(colored(seed=1))))


@pytest.mark.parametrize("change", [lambda x: x * 0.8, lambda x: (x + 0.15).clamp(0, 1), lambda x: x[:9]])
def test_a_darker_brighter_or_small_test_set_is_accepted(condensed: CondensedDataset, change: Any) -> None:
    assert len(condensed.standardized("test_set", labeled(change(colored(seed=1))))[0]) > 0


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (["dog", "fox", "cat"], [0, 1, 2], "calls its label 0 'dog', but in the source 'dog' is label 1"),
        (["cat", "fox"], [0, 1], "calls its label 1 'fox', but in the source 'fox' is label 2"),  # a missing folder
        (["ant", "cat", "dog"], [0, 1, 2], "calls its label 1 'cat'"),  # an additional one
        (["Katze", "fox", "dog"], [0, 2], "calls its label 2 'dog'"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: Subset(d, range(30))], ids=["plain", "subset"])
def test_another_order_of_names_is_refused(
    condensed: CondensedDataset, names: list[str], labels: list[int], message: str, wrap: Any
) -> None:
    given = torch.tensor(labels)[torch.arange(90) % len(labels)]
    with pytest.raises(SourceError, match=f"test_set {message}.*Map the labels"):
        condensed.standardized("test_set", wrap(labeled(colored(seed=1), names, given)))


def test_fewer_classes_in_the_same_order_are_accepted(condensed: CondensedDataset) -> None:
    test = labeled(colored(seed=1), NAMES, torch.full((90,), 2))
    assert condensed.standardized("test_set", ConcatDataset([test]))[1].unique().tolist() == [2]
    with pytest.raises(SourceError, match=r"labels that the source did not have: \[3\]"):
        condensed.standardized("test_set", labeled(colored(seed=1), None, torch.full((90,), 3)))


@pytest.mark.parametrize("runs", [1, 2])
def test_a_network_that_is_trained_already_is_refused(condensed: CondensedDataset, runs: int) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 3))
    before = module[1].weight.detach().clone()
    with pytest.raises(ValueError, match="returned the same module again"):
        condensed.evaluate(labeled(colored(seed=1)), lambda *_: module, runs, progress=False, training="quick")
    assert torch.equal(module[1].weight, before)


@pytest.mark.parametrize("initial", [5, "weights.pt", [torch.zeros(3)], {1: 2}.keys()])
def test_initial_weights_of_another_type_are_refused(initial: Any) -> None:
    recipe = recipes.dd(ipc=1, iterations=1, steps=1, epochs=1, network="convnet-d1-w4")
    made = CondensedDataset(labeled(colored()), recipe, cache=False, progress=False, device="cpu")
    with pytest.raises(ValueError, match=r"initial=\w+ must be a state dictionary, such as module.state_dict\(\)"):
        made.evaluate(labeled(colored(seed=1)), initial=initial, progress=False)


@pytest.mark.parametrize("names", [["0", "1", "2"], ["zero", "one", "two"], None])
def test_digits_are_recognized_by_the_names_that_the_source_gives(names: list[str] | None) -> None:
    """Names that equal the labels are names too; a source without any may show anything."""
    options: dict[str, Any] = {"progress": False, "device": "cpu"}
    source, test = (labeled(colored(seed=seed)[:, :1], names) for seed in (0, 1))
    condensed = CondensedDataset(source, recipes.random(ipc=2), cache=False, **options)
    protocol = replace(dc(), max_steps=1)
    found = condensed.evaluate(test, "convnet-d1-w4", 1, training=protocol, progress=False).training
    assert isinstance(found, Training)
    assert (found.augment == DCAugment()) == (names is not None)
