"""Matching of characteristic functions (NCFM).

Wang S. et al., CVPR 2025, https://arxiv.org/abs/2502.20653.

Letters: G groups, D features, F frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.core.device import to_device
from condensed_data.core.rng import RandomStreams
from condensed_data.core.validation import check_count
from condensed_data.methods.base import Loss, Objective, TrainableLoss
from condensed_data.training.context import Context

SLOPE = 0.2  # negative slope of the leaky ReLUs, as in the authors' code


@dataclass(frozen=True)
class CharacteristicFunction(Objective):
    """Distance between the characteristic functions of L2-normalized embeddings, summed over groups.

    With phi(t) the mean of exp(i <t, embedding>) over a group, the loss of the group is the mean over
    frequencies t of sqrt(alpha a + (1 - alpha) p), where a = (|phi_real| - |phi_synthetic|)^2 compares
    amplitudes and p = 2 (|phi_real| |phi_synthetic| - Re(phi_real conj(phi_synthetic))) compares phases.
    The authors multiply it by 300.

    The frequencies are t ~ N(0, I), or the output of a sampling network that learns to maximize the loss while the
    samples minimize it: three linear layers of D units with batch normalization, leaky ReLUs and a final tanh, applied
    to D standard normal numbers, as in the paper. It takes a step after every step of the samples.

    Deviations: all groups of an iteration share the random numbers from which the frequencies are made; if the argument
    of the root is below 1e-12, as for equal samples, the root and its gradient are 0 (the authors keep p above 1e-12).
    The authors' released configurations disable the sampling network, and their code for it makes only 4 frequencies,
    repeated 16 times, and trains it by SGD with momentum 0.5.

    Args:
        frequencies: their number, at least 1 (2 with a sampling network, whose batch normalization needs them); new
            ones are drawn in every iteration, with the random streams of the run (seed 0 if called without a run).
        alpha: weight of the amplitudes, in [0, 1].
        sampling_lr: learning rate of Adam for the sampling network (ours), at least 0; 0 for normal frequencies.
    """

    frequencies: int = 4096
    alpha: float = 0.5
    sampling_lr: float = 0.0

    def __post_init__(self) -> None:
        if not self.sampling_lr >= 0:
            raise ValueError(f"CharacteristicFunction(sampling_lr={self.sampling_lr!r}) must be at least 0.")
        least = 2 if self.sampling_lr else 1
        check_count("CharacteristicFunction", "frequencies", self.frequencies, least)
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"CharacteristicFunction(alpha={self.alpha}) must be in [0, 1].")

    def start(self, context: Context) -> Loss:
        if self.sampling_lr:
            return _Sampled(self, context.rng)
        return lambda net, pair: self._normal(net, pair, context.rng)

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        return self._normal(net, pair, RandomStreams(0))

    def _normal(self, net: NetworkView, pair: Pair, rng: RandomStreams) -> Tensor:
        return self.compare(net, pair, lambda features: _noise(self.frequencies, features, rng, pair.iteration))

    def compare(self, net: NetworkView, pair: Pair, frequencies: Callable[[Tensor], Tensor]) -> Tensor:
        """The loss at `frequencies(embeddings)`, (F, D), a function of the real embeddings (B, D)."""
        with torch.no_grad():
            real = F.normalize(net.embed(pair.real.x), dim=1)
        synthetic = F.normalize(net.embed(pair.synthetic.x), dim=1)
        t = frequencies(real)
        (x, y), (u, v) = _means(pair.real, real @ t.T), _means(pair.synthetic, synthetic @ t.T)
        amplitude = (_root(x.square() + y.square()) - _root(u.square() + v.square())).square()  # (G, F)
        # a + p = |phi_real - phi_synthetic|^2; computing p itself would suffer from cancellation
        both = (x - u).square() + (y - v).square()
        return _root((1 - self.alpha) * both + (2 * self.alpha - 1) * amplitude).mean(1).sum()


class _Sampled(TrainableLoss):
    """The loss with its sampling network, which takes a step of gradient ascent after every step of the samples."""

    def __init__(self, spec: CharacteristicFunction, rng: RandomStreams) -> None:
        self.spec, self.rng = spec, rng
        self.module: nn.Module | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.loaded_state: Mapping[str, Any] = {}  # until the network is built

    def __call__(self, net: NetworkView, pair: Pair) -> Tensor:
        drawn: list[Tensor] = []

        def frequencies(features: Tensor) -> Tensor:
            with torch.enable_grad():
                drawn.append(self._network(features)(_noise(self.spec.frequencies, features, self.rng, pair.iteration)))
            drawn.append(drawn[0].detach().requires_grad_())
            return drawn[1]

        loss = self.spec.compare(net, pair, frequencies)
        output, leaf = drawn
        (slope,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        output.backward(-slope)  # accumulates the gradient for the ascent of the sampling network
        return loss

    def update(self, iteration: int) -> None:
        if self.optimizer is not None:
            self.optimizer.step()
            self.optimizer.zero_grad()

    def _network(self, features: Tensor) -> nn.Module:
        if self.module is None:
            size, seed = features.shape[1], self.rng.seed_for("sampling network")
            self.module = networks.build(_sampling_network, 1, (size,), seed).to(features)
            self.optimizer = torch.optim.Adam(self.module.parameters(), self.spec.sampling_lr)
            if self.loaded_state:
                self.module.load_state_dict(self.loaded_state["network"])
                self.optimizer.load_state_dict(self.loaded_state["optimizer"])
        return self.module

    def state_dict(self) -> dict[str, Any]:
        if self.module is None or self.optimizer is None:
            return dict(self.loaded_state)
        return {"network": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.module, self.optimizer, self.loaded_state = None, None, state


def _sampling_network(num_classes: int, sample_shape: tuple[int, ...]) -> nn.Module:
    """(F, D) noise -> (F, D) frequencies in (-1, 1)."""
    (size,) = sample_shape
    layers: list[nn.Module] = []
    for last in (nn.LeakyReLU(SLOPE), nn.LeakyReLU(SLOPE), nn.Tanh()):
        layers += [nn.Linear(size, size), nn.BatchNorm1d(size), last]
    return nn.Sequential(*layers)


def _noise(count: int, features: Tensor, rng: RandomStreams, iteration: int) -> Tensor:
    """Standard normal numbers (count, D)."""
    generator = rng.torch("frequencies", iteration)
    return to_device(torch.randn(count, features.shape[1], generator=generator), features.device, features.dtype)


def _means(batch: Batch, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of phi (G, F) from angles (B, F)."""
    return batch.means(angles.cos()), batch.means(angles.sin())


def _root(squares: Tensor) -> Tensor:
    """The square root; 0 with gradient 0 near 0, where its gradient is unbounded."""
    positive = squares > 1e-12
    return torch.where(positive, squares, 1).sqrt() * positive
