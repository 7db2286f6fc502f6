"""Random draws without global state: every draw is named by its purpose.

A draw depends on (seed, purpose, keys...) only, not on earlier draws. A resumed run, a run that steps class by class
and a run on several processes therefore get the same numbers, and checkpoints need no generator state.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomStreams:
    """All random draws of one run, from its only seed: a non-negative integer; others raise ValueError."""

    seed: int

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer) or self.seed < 0:
            raise ValueError(f"seed={self.seed!r} must be a non-negative integer.")

    def seed_for(self, purpose: str, *keys: int) -> int:
        """A 63-bit seed for (purpose, keys), for example to initialize network number `keys[0]`."""
        text = "/".join((str(self.seed), purpose, *map(str, keys)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

    def numpy(self, purpose: str, *keys: int) -> np.random.Generator:
        """A new NumPy generator for (purpose, keys)."""
        return np.random.Generator(np.random.Philox(key=self.seed_for(purpose, *keys)))

    def torch(self, purpose: str, *keys: int) -> torch.Generator:
        """A new torch generator on the CPU for (purpose, keys)."""
        return torch.Generator().manual_seed(self.seed_for(purpose, *keys))

    def uniform(self, purpose: str, iteration: int, groups: Sequence[int], count: int) -> Tensor:
        """Uniform numbers, independent for each group: (G, count) float32 in [0, 1)."""
        keys = [self.seed_for(purpose, iteration, group) for group in groups]
        rows = [_reseeded(key).random(count, dtype=np.float32) for key in keys]
        return torch.from_numpy(np.stack(rows))

    def choice(self, purpose: str, iteration: int, group: int, size: int, count: int) -> Tensor:
        """Sample `count` of `range(size)`: (count,) int64, without replacement unless size < count."""
        generator = _reseeded(self.seed_for(purpose, iteration, group))
        return torch.from_numpy(generator.choice(size, count, replace=size < count, shuffle=False))


class _Local(threading.local):
    """The generator of this thread, which is seeded anew for each draw."""

    def __init__(self) -> None:
        self.generator = np.random.Generator(np.random.Philox(0))


_LOCAL = _Local()
_ZEROS = np.zeros(4, np.uint64)


def _reseeded(key: int) -> np.random.Generator:
    """This thread's generator, seeded with `key`; creating a new one would take seven times as long."""
    state = {"counter": _ZEROS, "key": np.array([key, 0], np.uint64)}
    _LOCAL.generator.bit_generator.state = {
        "bit_generator": "Philox",
        "state": state,
        "buffer": _ZEROS,
        "buffer_pos": 4,
        "has_uint32": 0,
        "uinteger": 0,
    }
    return _LOCAL.generator


@contextmanager
def preserve_rng_state() -> Iterator[None]:
    """Restore the global random states of torch, NumPy and `random` on exit."""
    states = random.getstate(), np.random.get_state()
    generators = [(generator, generator.get_state()) for generator in _generators()]
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for generator, state in generators:
            generator.set_state(state)


@contextmanager
def seeded_rng(rng: RandomStreams) -> Iterator[None]:
    """Seed torch's global state, which layers such as dropout draw from, with `rng`; restore it on exit."""
    with preserve_rng_state():
        for generator in _generators():
            generator.manual_seed(rng.seed_for("forward"))
        yield


def _generators() -> list[torch.Generator]:
    """The global generators of the CPU and of devices in use.

    `torch.manual_seed` would also seed devices that are not in use, whose state cannot be saved yet.
    """
    generators = [torch.default_generator]
    if torch.cuda.is_initialized():
        generators += torch.cuda.default_generators
    if torch.xpu.is_initialized():
        generators += torch.xpu.default_generators
    if torch.backends.mps.is_available():
        generators.append(torch.mps._get_default_mps_generator())
    return generators
