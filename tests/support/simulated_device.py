"""A simulated device: its tensors are computed on the CPU, and every synchronization with the host is recorded.

Operations that a real device rejects are rejected, such as those on tensors of two devices. Results are those of the
CPU, bit for bit. These count as synchronization: a copy from the host that is not `non_blocking` (as with
`torch.cuda`), reading a value, requesting an unknown number of rows, and making a tensor from Python numbers.

The device is torch's "meta", because only that one needs no driver. Every tensor that the tested code can get hold of
is a `DeviceTensor`, which has values.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
_OPS = torch.ops.aten
_READS = (
    _OPS._local_scalar_dense.default,
    _OPS.nonzero.default,
    _OPS.equal.default,
    _OPS.masked_select.default,
    _OPS._unique2.default,
    _OPS.repeat_interleave.Tensor,
)
_COPIES = (_OPS.copy_.default,)
_INDEXES = (_OPS.index.Tensor, _OPS.index_put.default, _OPS.index_put_.default, _OPS._index_put_impl_.default)
_STRICT = (*_INDEXES, _OPS.cat.default, _OPS.stack.default)  # these do not even accept scalars on the CPU
_SYNCS: list[str] = []


class DeviceTensor(Tensor):
    """A tensor on the simulated device; its values are in `on_cpu`, a tensor on the CPU."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, on_cpu: Tensor) -> DeviceTensor:
        tensor: DeviceTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            on_cpu.shape,
            strides=on_cpu.stride(),
            storage_offset=on_cpu.storage_offset(),
            dtype=on_cpu.dtype,
            device=DEVICE,
        )
        tensor.on_cpu = on_cpu
        return tensor

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.pop("device", None)
        cpu_tensors = [
            leaf
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, Tensor) and not isinstance(leaf, DeviceTensor)
        ]
        _check(func, args, kwargs, cpu_tensors)
        to_host = device is not None and torch.device(device).type == "cpu"
        if to_host:
            _record_sync(func)
        result = func(*tree_map(to_cpu, args), **tree_map(to_cpu, kwargs))
        if to_host:
            return result
        if torch.Tag.inplace_view in func.tags:
            with no_dispatch():
                func(*args, **kwargs)  # give this tensor the new shape of its values
        if func._schema.is_mutable:
            changed = kwargs.get("out", args[0])
            return changed if isinstance(changed, Tensor) else result
        return tree_map(to_simulated, result)


def to_cpu(value: Any) -> Any:
    """The values of a tensor on the device; anything else as it is."""
    return value.on_cpu if isinstance(value, DeviceTensor) else value


def to_simulated(value: Any) -> Any:
    """A tensor on the device with these values; anything but a tensor as it is."""
    return DeviceTensor(value) if isinstance(value, Tensor) and not isinstance(value, DeviceTensor) else value


def _check(func: Any, args: Any, kwargs: Any, cpu_tensors: list[Tensor]) -> None:
    """Record a synchronization, and reject what a device rejects."""
    if func in _READS:
        _record_sync(func)
    elif func in _COPIES:
        non_blocking = kwargs.get("non_blocking") or (len(args) > 2 and args[2])
        if not isinstance(args[0], DeviceTensor) or (cpu_tensors and not non_blocking):
            _record_sync(func)
    elif func in _INDEXES and isinstance(args[0], DeviceTensor):
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        if cpu_tensors or masks:
            _record_sync(func)
    elif any(tensor.dim() for tensor in cpu_tensors) or (cpu_tensors and func in _STRICT):
        raise RuntimeError(f"{func} on tensors of two devices: {[tuple(tensor.shape) for tensor in cpu_tensors]}")


def _record_sync(operation: Any) -> None:
    frames = [frame for frame in traceback.extract_stack() if "/condensed_data" in frame.filename]
    places = [f"{frame.filename.rsplit('/condensed_data')[-1]}:{frame.lineno}" for frame in frames[:-4:-1]]
    _SYNCS.append(f"{operation} at {' < '.join(places)}")


class _CopyToDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Any:
        return to_simulated(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return to_cpu(gradients[0])


def _is_simulated(device: Any) -> bool:
    return isinstance(device, torch.device | str) and torch.device(device).type == DEVICE.type


class _FactoryMode(TorchDispatchMode):
    """Handles tensors that torch itself makes on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if _is_simulated(kwargs.get("device")) and not any(
            isinstance(leaf, DeviceTensor) for leaf in tree_leaves((args, kwargs))
        ):
            return to_simulated(func(*args, **{**kwargs, "device": torch.device("cpu")}))
        return func(*args, **kwargs)


class _ProgramMode(TorchFunctionMode):
    """Handles tensors that the program makes on the device, copies to it and reads from it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], DeviceTensor):
            _record_sync("tolist")
            return args[0].on_cpu.tolist()
        if func is Tensor.to:
            return _to(*args, **kwargs)
        if not _is_simulated(kwargs.get("device")):
            return func(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor):
            _record_sync("torch.tensor")
        requires_grad = kwargs.pop("requires_grad", False)
        tensor = to_simulated(func(*map(to_cpu, args), **{**kwargs, "device": "cpu"}))
        return tensor.requires_grad_() if requires_grad else tensor


def _to(tensor: Tensor, *args: Any, non_blocking: bool = False, copy: bool = False, **kwargs: Any) -> Any:
    """`Tensor.to`, with all its signatures."""
    device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
    for value in args:
        if isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, bool):
            non_blocking = value
        elif value is not None:
            device = value
    if _is_simulated(device) and not isinstance(tensor, DeviceTensor):
        if not non_blocking:
            _record_sync("to")
        tensor = _CopyToDevice.apply(tensor)
    kwargs |= {} if dtype is None else {"dtype": dtype}
    kwargs |= {} if device is None or _is_simulated(device) else {"device": device}
    return tensor.to(copy=copy, **kwargs) if copy or kwargs else tensor


@contextmanager
def simulated() -> Iterator[list[str]]:
    """Make `DEVICE` usable; the yielded list gets one entry per synchronization, with its place in the code."""
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    _SYNCS.clear()
    try:
        # inference mode cannot make views of a subclass; no_grad computes the same
        without = patch("torch.inference_mode", torch.no_grad)
        # the device is made of modes, which the program would leave
        kept = patch("condensed_data.core.torch_settings._left_modes", nullcontext)
        with without, kept, _ProgramMode(), _FactoryMode():
            yield _SYNCS
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)


@contextmanager
def use_device(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> Iterator[None]:
    """Resolve every device argument to this device."""
    with monkeypatch.context() as patch:
        for module in list(sys.modules.values()):
            if module.__name__.startswith("condensed_data") and hasattr(module, "choose_device"):
                patch.setattr(module, "choose_device", lambda requested: device)
        yield
