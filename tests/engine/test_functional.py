"""`condense_tensors`: the same result for the same values, however the tensors hold them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from condensed_data import recipes
from condensed_data.engine.functional import condense_tensors

Pair = tuple[Tensor, Tensor]


@pytest.fixture
def pair() -> Pair:
    samples = torch.rand(30, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    return samples, torch.arange(30) % 3


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda x, y: (x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), y), id="not contiguous"),
        pytest.param(lambda x, y: (x.clone().requires_grad_(), y), id="requires grad"),
        pytest.param(lambda x, y: (torch.nn.Parameter(x.clone()), y), id="parameter"),
        pytest.param(lambda x, y: (x.double(), y), id="float64"),
        pytest.param(lambda x, y: (x, y.to(torch.int8)), id="int8 labels"),
        pytest.param(lambda x, y: (x, y.repeat_interleave(2)[::2]), id="strided labels"),
        pytest.param(lambda x, y: (torch.cat([x, x])[:30], torch.cat([y, y])[:30]), id="views"),
    ],
)
@pytest.mark.parametrize("recipe", [recipes.random(ipc=2), recipes.dm(ipc=1, iterations=1)], ids=lambda r: r.name)
def test_how_tensors_hold_their_values_does_not_matter(pair: Pair, change: Any, recipe: Any) -> None:
    recipe = recipe if recipe.name == "random" else recipe.set(network="convnet-d1-w4")
    samples, labels = change(*pair)
    before = samples.detach().clone()
    expected = condense_tensors(*pair, recipe, device="cpu")
    found = condense_tensors(samples, labels, recipe, device="cpu")
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(expected, found, strict=True))
    assert not found[0].requires_grad
    assert torch.equal(samples.detach(), before)


def test_labels_keep_their_values(pair: Pair) -> None:
    values = torch.tensor([70, 5, 2**40])
    _, labels = condense_tensors(pair[0], values[pair[1]], recipes.random(ipc=2), device="cpu")
    assert labels.tolist() == [5, 5, 70, 70, 2**40, 2**40]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:-1]), "30 samples and 29 labels. Give one label per sample"),
        (lambda x, y: (x[0], y), "3 samples and 30 labels"),
        (lambda x, y: (x.to("meta"), y), "samples=.*must be a dense tensor"),
        (lambda x, y: (x.to_sparse(), y), "samples=.*must be a dense tensor"),
        (lambda x, y: (x, torch.tensor(1)), "labels=.*must be a dense tensor"),
    ],
)
def test_tensors_that_cannot_be_condensed_are_refused(pair: Pair, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        condense_tensors(*change(*pair), recipes.random(ipc=1), device="cpu")
