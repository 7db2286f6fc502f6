"""Ridge regression equals a naive loop, and stays finite where its kernel is singular."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from oracles_objectives import NET, embedded, network_view, pair
from oracles_ridge import label_loss, ridge_loss
from torch import Tensor

from condensed_data.core.batch import Batch, Pair
from condensed_data.methods.objectives import RidgeRegression
from condensed_data.methods.objectives.ridge_regression import label_margin, predict_by_ridge


def scored(scores: Tensor) -> Pair:
    """The pair of the oracles with these labels of its 7 synthetic samples."""
    both = pair()
    return Pair(both.real, replace(both.synthetic, y=scores))


def random_scores(classes: int = 3) -> Tensor:
    return torch.randn(7, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_it_equals_the_loop(mirror: bool, scale: float) -> None:
    net, scores = network_view(NET), scale * random_scores()
    both = scored(scores)
    loss = RidgeRegression(1e-3, mirror)(net, both)
    (real,) = embedded(net, Batch(both.real.x, both.real.y, (len(both.real.x),)))
    x = torch.cat([both.synthetic.x, both.synthetic.x.flip(3)]) if mirror else both.synthetic.x
    (rows,) = embedded(net, Batch(x, scores, (len(x),)))
    labels = scores.tolist() * (2 if mirror else 1)
    expected = ridge_loss(real, both.real.y.tolist(), rows, labels, 1e-3) + label_loss(scores.tolist())
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_its_gradient_reaches_samples_and_scores() -> None:
    net, scores = network_view(NET), random_scores().requires_grad_()
    both = scored(scores)
    x = both.synthetic.x.clone().requires_grad_()
    both = Pair(both.real, replace(both.synthetic, x=x))
    objective = RidgeRegression()
    assert torch.autograd.gradcheck(lambda x, y: objective(net, Pair(both.real, Batch(x, y, (2, 3, 2)))), (x, scores))


def test_the_margin_stops_at_one_in_k() -> None:
    scores = torch.tensor([[0.5, 0.3, -1.0], [0.9, 0.0, 0.1], [0.2, 0.2, 0.0]], requires_grad=True)
    margin = label_margin(scores)
    torch.testing.assert_close(margin, torch.tensor([0.2, 1 / 3, 0.0]))
    (slope,) = torch.autograd.grad(margin[:2].sum(), scores)
    assert slope.tolist() == [[1, -1, 0], [0, 0, 0], [0, 0, 0]]
    assert label_margin(torch.tensor([[3.0]])).tolist() == [0.0]


def test_classes_are_regressed_on_as_centered_rows() -> None:
    net, both = network_view(NET), pair()
    rows = torch.eye(3, dtype=torch.float64)[both.synthetic.y] - 1 / 3
    hard, soft = RidgeRegression()(net, both), RidgeRegression(margin=0.0)(net, scored(rows))
    torch.testing.assert_close(hard, soft)


def test_equal_samples_in_single_precision_stay_finite() -> None:
    features = torch.rand(1, 50).repeat(20, 1) * 100
    targets = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    predicted = predict_by_ridge(features[:2], features, targets, 1e-6)
    torch.testing.assert_close(predicted.float(), targets.mean(0).expand(2, 3), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("regularization", [0.0, -1e-6, math.nan])
def test_a_ridge_that_is_not_positive_is_refused(regularization: float) -> None:
    with pytest.raises(ValueError, match=r"RidgeRegression\(regularization="):
        RidgeRegression(regularization)
