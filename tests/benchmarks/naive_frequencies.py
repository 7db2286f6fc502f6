"""Characteristic functions, and the network that samples their frequencies: part of `naive.py`.

Wang S. et al., CVPR 2025, https://arxiv.org/abs/2502.20653. Letters: B rows, D features, F frequencies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.objectives import CharacteristicFunction


def distance(real: Tensor, synthetic: Tensor, t: Tensor, alpha: float) -> Tensor:
    """Mean over t of sqrt(alpha a + (1 - alpha) p): a compares amplitudes, p phases.

    Args:
        real, synthetic: (B, D), normalized.
        t: (F, D).
        alpha: weight of the amplitudes.
    """
    (x, y), (u, v) = _function(real, t), _function(synthetic, t)
    there, here = (x.square() + y.square()).sqrt(), (u.square() + v.square()).sqrt()
    amplitude = (there - here).square()
    phase = 2 * (there * here - x * u - y * v)
    return (alpha * amplitude + (1 - alpha) * phase).clamp_min(1e-12).sqrt().mean()


def _function(rows: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part (F,) of the mean of exp(i <t, row>), float64 because `phase` cancels."""
    angles = rows @ t.T
    return angles.cos().mean(0, dtype=torch.float64), angles.sin().mean(0, dtype=torch.float64)


class Frequencies:
    """The frequencies of every iteration: normal, or the output of a network trained by gradient ascent on the loss.

    Attributes:
        weights: of that network; empty for normal frequencies.
    """

    def __init__(self, objective: CharacteristicFunction, run: CondensationRun) -> None:
        self.objective, self.rng, self.device = objective, run.context.rng, run.context.device
        self.network: nn.Module | None = None
        self.optimizer: torch.optim.Optimizer | None = None

    @property
    def weights(self) -> list[Tensor]:
        return list(self.network.parameters()) if self.network else []

    def at(self, iteration: int, features: int) -> Tensor:
        """(F, D) for embeddings of `features` values, differentiable in `weights`."""
        generator = self.rng.torch("frequencies", iteration)
        noise = torch.randn(self.objective.frequencies, features, generator=generator).to(self.device)
        if not self.objective.sampling_lr:
            return noise
        if self.network is None:
            seed = self.rng.seed_for("sampling network")
            self.network = networks.build(_sampling_network, 1, (features,), seed).to(self.device)
            self.optimizer = torch.optim.Adam(self.network.parameters(), self.objective.sampling_lr)
        frequencies: Tensor = self.network(noise)
        return frequencies

    def ascend(self) -> None:
        """Take one step of gradient ascent."""
        if self.optimizer is not None:
            self.optimizer.step()


def _sampling_network(num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
    size = sample_shape[0]

    def layer(last: nn.Module) -> list[nn.Module]:
        return [nn.Linear(size, size), nn.BatchNorm1d(size), last]

    return nn.Sequential(*layer(nn.LeakyReLU(0.2)), *layer(nn.LeakyReLU(0.2)), *layer(nn.Tanh()))
