"""Loading a given state dictionary into a network, optionally with a new classifier.

Letters: K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

HEADS = ("loaded", "zeroed")


def load_state(module: nn.Module, state: Mapping[str, Tensor], head: str = "loaded", name: str = "state") -> None:
    """Load these weights into a module.

    Args:
        module: changed in place.
        state: its state dictionary. With head="zeroed" the last linear layer may be missing or have another K.
        head: "loaded", or "zeroed" to set the last linear layer to zero, for networks that were trained on other
            classes (Wang et al., 2018, https://arxiv.org/abs/1811.10959, section 4.3; their code has biases of 1,
            which make no difference to a softmax).
        name: of `state` in messages.

    Raises:
        ValueError: if names or shapes do not match, or there is no linear layer to set to zero.
    """
    given = dict(state)
    if head == "zeroed":
        zeros = {key: torch.zeros_like(module.state_dict()[key]) for key in _last_linear(module)}
        given = {key: value for key, value in given.items() if key not in zeros} | zeros
    expected = module.state_dict()
    mismatched = sorted(expected.keys() ^ given.keys()) or [
        key for key, value in expected.items() if tuple(value.shape) != tuple(given[key].shape)
    ]
    if mismatched:
        key = mismatched[0]
        got, needed = (_shape(tensors.get(key)) for tensors in (given, expected))
        raise ValueError(
            f"{name} does not match {type(module).__name__}: {key!r} is {got}, but the network needs {needed}. "
            "Give the state dictionary of the same network for samples of this shape and as many classes"
            + ("." if head == "zeroed" else ', or head="zeroed" for a last layer of other classes.')
        )
    module.load_state_dict(given)


def _last_linear(module: nn.Module) -> list[str]:
    """Names of the tensors of the linear layer that is defined last."""
    linear = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(f'{type(module).__name__} has no nn.Linear for head="zeroed". Use head="loaded".')
    last = module.get_submodule(linear[-1])
    return [f"{linear[-1]}.{key}" if linear[-1] else key for key in last.state_dict()]


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(tuple(tensor.shape))
