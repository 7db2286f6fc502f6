"""Mode and hooks of a module for the length of a block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.utils.hooks import RemovableHandle


@contextmanager
def temporary_mode(module: nn.Module, training: bool) -> Iterator[None]:
    """Put a module into training or evaluation mode; afterwards every submodule is in its own mode again."""
    modes = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def temporary_hooks(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end of the block."""
    registered = list(handles)
    try:
        yield
    finally:
        for handle in registered:
            handle.remove()
