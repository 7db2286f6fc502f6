"""Cross-entropy of the synthetic samples equals loops."""

from __future__ import annotations

from dataclasses import replace

import oracles_objectives as oracles
import pytest
import torch
import torch.nn.functional as F
from oracles_objectives import network_view, pair
from torch import Tensor

from condensed_data.methods.objectives import (
    CrossEntropy,
)
from condensed_data.networks import ConvNet

NET = ConvNet(width=4, depth=1)


@pytest.mark.parametrize("soft", [False, True])
def test_equals_the_loops(soft: bool) -> None:
    net, both = network_view(NET), pair()
    labels = F.one_hot(both.synthetic.y, 3).double()
    if soft:
        labels = labels * 0.7 + 0.1
        both = replace(both, synthetic=replace(both.synthetic, y=labels.float()))
    logits, start, total = net.logits(both.synthetic.x), 0, 0.0
    for size in both.synthetic.sizes:
        rows = range(start, start + size)
        total += sum(float(oracles.log_loss(logits[i], labels[i])) for i in rows) / size
        start += size
    assert float(CrossEntropy()(net, both)) == pytest.approx(total, rel=1e-6 if soft else 1e-10)


def test_the_accuracy_scales_in_percent() -> None:
    net, both = network_view(NET), pair()
    plain = CrossEntropy()(net, both)
    torch.testing.assert_close(CrossEntropy(True)(replace(net, accuracy=torch.tensor(0.62)), both), 62 * plain)
    assert float(CrossEntropy(True)(replace(net, accuracy=torch.tensor(0.0)), both)) == 0
    with pytest.raises(ValueError, match=r"scale_by_accuracy=True\) with this pool.*or scale_by_accuracy=False"):
        CrossEntropy(True)(net, both)


def test_differentiable_in_samples_and_labels() -> None:
    net, both = network_view(ConvNet(width=3, depth=1, activation="sigmoid"), (1, 4, 4)), pair((1, 4, 4))
    scores = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        return CrossEntropy()(net, replace(both, synthetic=replace(both.synthetic, x=x, y=labels.softmax(1))))

    assert torch.autograd.gradcheck(loss, (both.synthetic.x.clone().requires_grad_(), scores.requires_grad_()))
