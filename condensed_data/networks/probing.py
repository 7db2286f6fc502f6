"""Properties of any network: its embedding and feature maps, its output sizes, its cost, whether it is stochastic.

Networks of this package have the methods `embed` and `feature_maps`, and a user's network may have them. Other modules
(torchvision, timm) are read by hooks that are removed after each call, so that modules can still be pickled and copied.
Letters: B batch, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from condensed_data.core.rng import preserve_rng_state
from condensed_data.networks.modes import temporary_hooks, temporary_mode


@dataclass(frozen=True)
class Probe:
    """Output sizes of a network."""

    outputs: int  # number of logits K
    features: int | None  # size D of the embedding, or None if the module has none


def embed_of(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The differentiable embedding (B, *sample) -> (B, D) of a network.

    It is the method `embed` if the module's class has one, otherwise the flattened input of the `nn.Linear` that is
    executed last. ValueError is raised if the module has neither; when called, if none of its linear layers is
    executed.
    """
    if _has_method(module, "embed"):
        return module.embed  # type: ignore[return-value]
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(
            f"{type(module).__name__} has no nn.Linear to take an embedding from. "
            "Give its class a method embed(x) that returns (B, D)."
        )

    def embed(x: Tensor) -> Tensor:
        last: list[Tensor] = []

        def record(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            last[:] = [inputs[0] if inputs else named["input"]]

        with temporary_hooks(layer.register_forward_pre_hook(record, with_kwargs=True) for layer in linear):
            module(x)
        if not last:
            raise ValueError(
                f"{type(module).__name__} executed none of its nn.Linear layers, so it has no embedding. "
                "Give its class a method embed(x) that returns (B, D)."
            )
        return last[0].flatten(1)

    return embed


def feature_maps_of(module: nn.Module, layers: tuple[str, ...] = ()) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The differentiable feature maps (B, *sample) -> (map, ...) of a network.

    `layers` are names of submodules (see `module.named_modules()`), whose outputs are returned in this order; of a
    submodule that is executed several times the last output. Without names, the method `feature_maps` is taken.

    Raises:
        ValueError: without names, if the module has no such method; for unknown names; when called, if a named
            layer is not executed.
        TypeError: when called, if a named layer does not return a tensor.
    """
    if not layers and _has_method(module, "feature_maps"):
        return module.feature_maps  # type: ignore[return-value]
    named = dict(module.named_modules())
    unknown = [name for name in layers if name not in named]
    if unknown or not layers:
        wrong = f"has no layers {', '.join(map(repr, unknown))}" if unknown else "has no method feature_maps(x)"
        top = ", ".join(name for name, _ in module.named_children())
        raise ValueError(
            f"{type(module).__name__} {wrong}. Name layers as in named_modules(), for instance among {top}."
        )

    def feature_maps(x: Tensor) -> tuple[Tensor, ...]:
        outputs: dict[str, Tensor] = {}
        with temporary_hooks(named[name].register_forward_hook(_keep(outputs, name)) for name in layers):
            module(x)
        silent = [name for name in layers if name not in outputs]
        if silent:
            raise ValueError(f"{type(module).__name__} did not execute its layers {', '.join(silent)}.")
        return tuple(outputs[name] for name in layers)

    return feature_maps


def _keep(outputs: dict[str, Tensor], name: str) -> Callable[..., None]:
    def record(_: nn.Module, __: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise TypeError(f"Layer {name!r} returns {type(output).__name__}, not a tensor. Name another layer.")
        # A copy, because an in-place activation that follows would overwrite the map.
        outputs[name] = output.clone()

    return record


def _has_method(module: nn.Module, name: str) -> bool:
    # Looked up in the class, because a submodule may be called `embed`.
    return callable(getattr(type(module), name, None))


def has_batch_norm(module: nn.Module) -> bool:
    """Whether outputs depend on the rest of the batch in training mode, that is, by batch normalization."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


def is_stochastic(module: nn.Module) -> bool:
    """Whether the forward pass is stochastic (dropout) in the current mode."""
    return any(isinstance(layer, _DropoutNd) and layer.training and layer.p > 0 for layer in module.modules())


def flops(module: nn.Module, sample: Tensor) -> int:
    """Floating-point operations of a forward pass of (1, *sample); a multiply-add counts as two."""
    from torch.utils.flop_counter import (
        FlopCounterMode,  # imported here because it loads triton, which takes half a second
    )

    with (
        temporary_mode(module, training=False),
        torch.no_grad(),
        preserve_rng_state(),
        FlopCounterMode(display=False) as counter,
    ):
        module(sample)
    return int(counter.get_total_flops())


def probe(module: nn.Module, sample_shape: tuple[int, ...]) -> Probe:
    """Run a network on two zero samples in evaluation mode, so that errors are raised before long work starts.

    Its state and mode do not change. ValueError is raised if the forward pass fails for samples of this shape, or does
    not return one row of logits per sample.
    """
    anchor = next(module.parameters(), torch.zeros(()))
    x = torch.zeros(2, *sample_shape, device=anchor.device, dtype=anchor.dtype)
    with temporary_mode(module, training=False), torch.no_grad(), preserve_rng_state():
        logits = _try(module, module, x)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"{type(module).__name__} must map (B, ...) to logits (B, K); for 2 samples it returned {got}."
            )
        linear = any(isinstance(layer, nn.Linear) for layer in module.modules())
        known = linear or _has_method(module, "embed")
        features = _try(module, embed_of(module), x).shape[1] if known else None
    return Probe(logits.shape[1], features)


def _try(module: nn.Module, function: Callable[[Tensor], Any], x: Tensor) -> Any:
    try:
        return function(x)
    except Exception as error:
        name, shape = type(module).__name__, tuple(x.shape[1:])
        raise ValueError(f"{name} cannot take samples of shape {shape}: {error}") from error
