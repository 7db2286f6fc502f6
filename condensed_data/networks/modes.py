"""Training and evaluation mode of a module for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
