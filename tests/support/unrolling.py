"""Networks and pairs in double precision, for the tests of unrolled training."""

from __future__ import annotations

import oracles_unrolled as oracles
import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.networks import ConvNet

D, M, K = 3, 4, 3
STEPS = (2, 1, 3)  # rows of every step


class Hidden(nn.Module):
    """(B, D) -> (B, K): the network of the oracles."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(M, D, generator=draw, dtype=torch.float64) / 2)
        self.second = nn.Parameter(torch.randn(K, M, generator=draw, dtype=torch.float64) / 2)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.first.T).tanh() @ self.second.T


def hidden() -> NetworkView:
    module = Hidden()
    return NetworkView(module, module, lambda x: (module(x),))


def convnet() -> NetworkView:
    module = networks.build(ConvNet(width=3, depth=1), 3, (2, 6, 5), 1).double().requires_grad_(False)
    return NetworkView(module, networks.embed_of(module), networks.feature_maps_of(module))


def pair(shape: tuple[int, ...] = (D,), sizes: tuple[float, ...] = (0.7, 1.1, 0.4)) -> Pair:
    draw = torch.Generator().manual_seed(3)
    rows = sum(STEPS)
    x = torch.randn(rows, *shape, generator=draw, dtype=torch.float64)
    real = torch.randn(4, *shape, generator=draw, dtype=torch.float64)
    return Pair(
        Batch(real, torch.tensor([0, 2, 1, 1]), (4,)),
        Batch(x.requires_grad_(), torch.arange(rows) % K, STEPS),
        torch.tensor(sizes, dtype=torch.float64, requires_grad=True),
    )


def weights_of(net: NetworkView) -> oracles.Weights:
    first, second = (weight.tolist() for weight in net.module.parameters())
    return first, second


def blocks_of(batch: Batch, moved: Tensor | None = None) -> list[oracles.Block]:
    x = batch.x if moved is None else moved
    return [(rows.tolist(), y.tolist()) for rows, y in zip(batch.split(x), batch.split(batch.y), strict=True)]


def moved(x: Tensor, row: int, d: int, by: float) -> Tensor:
    x = x.detach().clone()
    x[row, d] += by
    return x


def plain_weights(net: NetworkView, case: Pair) -> dict[str, Tensor]:
    """The unroll by automatic differentiation alone, one sample and one step at a time."""
    assert case.step_sizes is not None
    weights = {name: w.detach().requires_grad_() for name, w in net.module.named_parameters()}
    side = case.synthetic
    for size, x, y in zip(case.step_sizes, side.split(side.x), side.split(side.y), strict=True):
        logits = [torch.func.functional_call(net.module, weights, (row[None],))[0] for row in x]
        terms = [row.log_softmax(0)[label] for row, label in zip(logits, y, strict=True)]
        gradients = torch.autograd.grad(-sum(terms) / len(x), list(weights.values()), create_graph=True)
        weights = {name: w - size * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
    return weights
