"""Replay memories of condensed samples for continual learning with Avalanche.

    ReplayPlugin(mem_size=100, storage_policy=CondensedBuffer(100, recipe="dm"))

Avalanche is imported on first use of one of these names, not with the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from condensed_data_avalanche.buffer import CondensedBuffer as CondensedBuffer
    from condensed_data_avalanche.memory_recipe import fast as fast
    from condensed_data_avalanche.plugins import CondensedGDumbPlugin as CondensedGDumbPlugin
    from condensed_data_avalanche.plugins import CondensedReplayPlugin as CondensedReplayPlugin
    from condensed_data_avalanche.plugins import ReducedInputs as ReducedInputs
    from condensed_data_avalanche.strategies import CondensedGDumb as CondensedGDumb
    from condensed_data_avalanche.strategies import CondensedReplay as CondensedReplay

_MODULES = {
    "CondensedBuffer": "buffer",
    "CondensedGDumb": "strategies",
    "CondensedGDumbPlugin": "plugins",
    "CondensedReplay": "strategies",
    "CondensedReplayPlugin": "plugins",
    "ReducedInputs": "plugins",
    "fast": "memory_recipe",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "avalanche":
            raise
        raise ModuleNotFoundError(
            'condensed_data_avalanche needs Avalanche. Run: pip install "condensed-data[avalanche]".',
            name=error.name,
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
