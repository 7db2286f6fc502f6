"""Our own settings of torch and NumPy, so that those of the caller neither change nor break what we compute.

Every public function that computes enters `own_settings`, or is a method of a class decorated with `doors`. Inside:

* of this thread: gradients are recorded, inference mode and autocast are left, tensors are made on the CPU, no mode of
  `torch.overrides` or `torch.utils._python_dispatch` intercepts operations (an outer `FlopCounterMode` counts nothing),
  no hook packs saved tensors, subnormal numbers are kept, NumPy warns as it does by default;
* of the process: the default dtype is float32, and kernels are those that torch takes by default (no deterministic
  mode, fp32 products in fp32, TF32 in convolutions on CUDA), except that cuDNN takes deterministic ones, for equal
  bits; anomaly mode and stances of the compiler are off.

What the caller had is restored on every way out. Threads share the settings of the process: the first that enters
saves them, and the last that leaves restores them. The number of threads stays the caller's: equal bits need an equal
number. Hooks that the caller registers for every module or optimizer stay as well: they are code, not settings.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FunctionType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import overrides
from torch.autograd.grad_mode import inference_mode
from torch.utils._python_dispatch import _disable_current_modes

from condensed_data.core.process_settings import own_process_settings

C = TypeVar("C", bound=type)
R = TypeVar("R")
# device -> the dtype of autocast unless code names another
_AUTOCAST = {"cpu": torch.bfloat16, "cuda": torch.float16, "mps": torch.float16, "xpu": torch.float16}
_NUMPY_ERRORS: dict[str, Any] = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


@contextmanager
def own_settings() -> Iterator[None]:
    """Compute with our own settings, see the top of this file; also a decorator of functions, but not of generators."""
    with (
        _left_modes(),
        _left_autocast(),
        _left_saved_tensor_hooks(),
        inference_mode(False),
        torch.enable_grad(),
        np.errstate(**_NUMPY_ERRORS),
        _kept_subnormals(),
        own_process_settings(),
    ):
        yield


def doors(cls: C) -> C:
    """Enter `own_settings` in every public method of a class, in `__init__`, `__call__` and its texts.

    Properties and other special methods are too hot: they must not compute, or enter by themselves.
    """
    for name, member in list(vars(cls).items()):
        if not name.startswith("_") or name in ("__init__", "__call__", "__str__", "__repr__", "_repr_html_"):
            if isinstance(member, FunctionType):
                setattr(cls, name, own_settings()(member))
            elif isinstance(member, classmethod | staticmethod):
                setattr(cls, name, type(member)(own_settings()(member.__func__)))
    return cls


@own_settings()
def call_with_own_settings(function: Callable[..., R], *arguments: Any) -> R:
    """Call a function: with `functools.partial`, what an executor is given to run in its workers."""
    return function(*arguments)


def enter_for_good(*_: Any) -> None:
    """Enter `own_settings` in a worker process, until it ends."""
    context = own_settings()
    context.__enter__()
    atexit.register(context.__exit__, None, None, None)


@contextmanager
def _left_modes() -> Iterator[None]:
    """Leave the modes that intercept operations; `torch.set_default_device` is one of them."""
    modes = [overrides._pop_mode() for _ in range(torch._C._len_torch_function_stack())]
    default = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    torch._GLOBAL_DEVICE_CONTEXT.device_context = None
    try:
        with _disable_current_modes() if torch._C._len_torch_dispatch_stack() else nullcontext():
            yield
    finally:
        torch._GLOBAL_DEVICE_CONTEXT.device_context = default
        for mode in reversed(modes):
            overrides._push_mode(mode)


@contextmanager
def _left_autocast() -> Iterator[None]:
    """Turn autocast off, and count no region of the caller's, at whose end its cache of cast weights is cleared."""
    found = {device: (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in _AUTOCAST}
    cached = torch.is_autocast_cache_enabled()
    depth = torch.autocast_increment_nesting() - 1
    for _ in range(depth + 1):
        torch.autocast_decrement_nesting()
    _set_autocast({device: (False, dtype) for device, dtype in _AUTOCAST.items()}, True)
    try:
        yield
    finally:
        _set_autocast(found, cached)
        for _ in range(depth):
            torch.autocast_increment_nesting()


def _set_autocast(values: dict[str, tuple[bool, torch.dtype]], cached: bool) -> None:
    for device, (enabled, dtype) in values.items():
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)
    torch.set_autocast_cache_enabled(cached)
    torch.clear_autocast_cache()


@contextmanager
def _left_saved_tensor_hooks() -> Iterator[None]:
    """Remove the hooks that pack what is saved for a backward pass; torch 2.6 cannot list them, and keeps them."""
    autograd: Any = torch._C._autograd
    hooks, top = [], getattr(autograd, "_top_saved_tensors_default_hooks", lambda ignore_tracing: None)
    while (pair := top(False)) is not None:
        autograd._pop_saved_tensors_default_hooks()
        hooks.append(pair)
    try:
        yield
    finally:
        for pair in reversed(hooks):
            autograd._push_saved_tensors_default_hooks(*pair)


@contextmanager
def _kept_subnormals() -> Iterator[None]:
    """Keep subnormal numbers; whether they are flushed to zero can only be seen by computing one."""
    flushed = sys.float_info.min / 2 == 0
    if flushed:
        torch.set_flush_denormal(False)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(True)
