"""Scores of untrained networks: the baselines that every other proxy must beat.

* params, flops: larger is better; competitive with most of the others (Krishnakumar et al., NeurIPS 2022,
  https://arxiv.org/abs/2210.03230).
* synflow: sum over the weights of |w * dR/dw| for R the summed output for an input of ones, with all weights made
  positive and no normalization (Tanaka et al., NeurIPS 2020, https://arxiv.org/abs/2006.05467, as an architecture
  score by Abdelfattah et al., ICLR 2021, https://arxiv.org/abs/2101.08134).
* naswot: log-determinant of the kernel that counts, for each pair of samples of a mini-batch, the units in the same
  state, on or off (Mellor et al., ICML
  2021, https://arxiv.org/abs/2006.04647). Deviation: a unit is on if the input of its activation is positive, for
  every activation instead of ReLU alone.

Letters: B rows of the mini-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from condensed_data import networks
from condensed_data.core.annotations import checked
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.torch_settings import doors
from condensed_data_nas.objective import ProxyObjective
from condensed_data_nas.space import Config, key_of
from condensed_data_nas.trial import FAILURES, TrackedBuilder, failure_message, raise_if_bug
from condensed_data_nas.trial_result import Result, count_parameters, measure_costs

BATCH_SIZE = 64
_NORMS = (nn.GroupNorm, nn.LayerNorm, _BatchNorm, _InstanceNorm)
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.SiLU, nn.GELU, nn.ELU, nn.Tanh)


def synflow(module: nn.Module, x: Tensor) -> float:
    """Synaptic flow of a module in evaluation mode, whose weights change; only the shape of x (B, *sample) is used."""
    module = module.double()
    hooks = [
        layer.register_forward_hook(lambda layer, given, output: given[0])
        for layer in module.modules()
        if isinstance(layer, _NORMS)
    ]
    with torch.no_grad():
        for weight in module.parameters():
            weight.abs_()
    total = module(torch.ones_like(x[:1], dtype=torch.float64)).sum()
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(total, weights, materialize_grads=True, allow_unused=True)
    for hook in hooks:
        hook.remove()
    flows = [(weight * gradient).abs().sum() for weight, gradient in zip(weights, gradients, strict=True)]
    return float(torch.stack(flows).sum().detach())


def naswot(module: nn.Module, x: Tensor) -> float:
    """Score of a module in evaluation mode with activations that are modules, for a mini-batch x (B, *sample)."""
    kernel = torch.zeros(len(x), len(x), dtype=torch.float64, device=x.device)

    def accumulate(layer: nn.Module, given: Any) -> None:
        on = (given[0].flatten(1) > 0).double()
        kernel.add_(on @ on.T + (1 - on) @ (1 - on).T)

    hooks = [
        layer.register_forward_pre_hook(accumulate) for layer in module.modules() if isinstance(layer, _ACTIVATIONS)
    ]
    if not hooks:
        raise ValueError(
            f"naswot needs activations that are modules, but {type(module).__name__} has none. Use another score."
        )
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return float(torch.linalg.slogdet(kernel)[1])


SCORES: dict[str, Callable[[nn.Module, Tensor], float]] = {
    "params": lambda module, x: float(count_parameters(module)),
    "flops": lambda module, x: float(networks.flops(module, x[:1])),
    "synflow": synflow,
    "naswot": naswot,
}


def zero_cost_proxy(label: str, name: str, others: Iterable[Any], place: str) -> ZeroCost:
    """The score of this name, for the networks of the first `ProxyObjective` among other proxies."""
    objective = next((one for one in others if isinstance(one, ProxyObjective)), None)
    if objective is None:
        raise ValueError(f"{label} needs networks to score. Give a ProxyObjective {place}.")
    return ZeroCost(name, objective)


@doors
class ZeroCost:
    """The score of this name, one of `SCORES`, as a proxy; `objective` gives networks, samples and seeds."""

    @checked
    def __init__(self, name: str, objective: ProxyObjective) -> None:
        if name not in SCORES:
            raise ValueError(f"Unknown zero-cost proxy {name!r}. Known: {', '.join(SCORES)}.")
        self.name, self.objective = name, objective

    def __call__(self, config: Config) -> float:
        """The score of a configuration; minus infinity for a network that cannot be built."""
        return self.measure(config).value

    @checked
    def measure(self, config: Config) -> Result:
        """The score of a configuration and its cost."""
        task, seed = self.objective.task, self.objective.seed
        rng = RandomStreams(RandomStreams(seed).seed_for(f"nas/{key_of(config)}"))
        device = self.objective.device
        order = torch.randperm(len(task.images), generator=RandomStreams(seed).torch("zero-cost"))
        x = task.images[order[:BATCH_SIZE]].to(device)
        builder = TrackedBuilder(lambda: self.objective.build_model(dict(config)))
        with preserve_rng_state(), measure_costs(device) as costs:
            try:
                module = networks.build(builder, task.num_classes, task.info.sample_shape, rng.seed_for("network"))
                score = SCORES[self.name](module.to(device).eval(), x)
                error = ""
            except FAILURES as failure:
                raise_if_bug(failure)
                score, error = -float("inf"), failure_message(failure)
        return Result(dict(config), (score,), seconds=costs.seconds, error=error)
