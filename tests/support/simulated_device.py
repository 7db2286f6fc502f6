"""A device that is not there: its tensors are computed on the CPU, and tell when the host would wait for them.

What a real device refuses is refused: an operation on tensors of both. What it computes is what the CPU computes, to
the bit. A copy from the host counts as waiting unless it is `non_blocking`, as `torch.cuda` does it; so does reading a
value, asking for an unknown number of rows, or making a tensor there from Python numbers.

The device is torch's "meta", because only that one needs no driver; every tensor that the code could get hold of is a
`Far`, which has values.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
_STRICT = (*_INDEXES, _OPS.cat.default, _OPS.stack.default)  # these take not even scalars of the CPU
_WAITS: list[str] = []
_RECORDING: list[SimulatedGraph] = []


class Far(Tensor):
    """A tensor on the device, whose values are in `held`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Far:
        made: Far = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Far({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.pop("device", None)
        if _RECORDING:
            _check_recorded(func, args, kwargs, device)
        near_ones = [
            leaf
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, Tensor) and not isinstance(leaf, Far)
        ]
        _check(func, args, kwargs, near_ones)
        brought = device is not None and torch.device(device).type == "cpu"
        if brought:
            _wait(func)
        found = _recorded(func, tree_map(near, args), tree_map(near, kwargs))
        if brought:
            return found
        if torch.Tag.inplace_view in func.tags:
            with no_dispatch():
                func(*args, **kwargs)  # this tensor gets the shape that what it holds has got
        if func._schema.is_mutable:
            changed = kwargs.get("out", args[0])
            return changed if isinstance(changed, Tensor) else found
        return tree_map(far, found)


class SimulatedGraph:
    """What was asked of the device while it recorded, asked again: values change, addresses and numbers do not."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0

    def metadata(self, function: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        _RECORDING.append(self)
        try:
            return function()
        finally:
            _RECORDING.pop()

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, found in self.operations:
            again = func(*args, **kwargs)
            if not (isinstance(func, torch._ops.OpOverload) and func._schema.is_mutable):
                for old, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def _recorded(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operation gives on values, noted where the device records."""
    found = func(*args, **kwargs)
    if _RECORDING:
        _RECORDING[-1].operations.append((func, args, kwargs, found))
    return found


def _check_recorded(func: Any, args: Any, kwargs: Any, device: Any) -> None:
    """Refuse what a device that records refuses: to wait, and to read what lies with the host."""
    leaves = tree_leaves((args, kwargs))
    near_ones = [
        leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, Far) and leaf.dim()
    ]
    if near_ones or func in _READS or (device is not None and torch.device(device).type == "cpu"):
        raise RuntimeError(f"{func} is not permitted while the device records")


def near(value: Any) -> Any:
    """What is held of a tensor on the device; anything else as it is."""
    return value.held if isinstance(value, Far) else value


def far(value: Any) -> Any:
    """A tensor on the device that holds this one; what is no tensor as it is."""
    return Far(value) if isinstance(value, Tensor) and not isinstance(value, Far) else value


def _check(func: Any, args: Any, kwargs: Any, near_ones: list[Tensor]) -> None:
    """Note a wait, and refuse what a device refuses."""
    if func in _READS:
        _wait(func)
    elif func in _COPIES:
        later = kwargs.get("non_blocking") or (len(args) > 2 and args[2])
        if not isinstance(args[0], Far) or (near_ones and not later):
            _wait(func)
    elif func in _INDEXES and isinstance(args[0], Far):
        masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
        if near_ones or masks:
            _wait(func)
    elif any(tensor.dim() for tensor in near_ones) or (near_ones and func in _STRICT):
        raise RuntimeError(f"{func} on tensors of two devices: {[tuple(one.shape) for one in near_ones]}")


def _wait(what: Any) -> None:
    frames = [frame for frame in traceback.extract_stack() if "/condensed_data" in frame.filename]
    where = [f"{frame.filename.rsplit('/condensed_data')[-1]}:{frame.lineno}" for frame in frames[:-4:-1]]
    _WAITS.append(f"{what} at {' < '.join(where)}")


class _Send(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Any:
        return far(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return near(gradients[0])


def _there(device: Any) -> bool:
    return isinstance(device, torch.device | str) and torch.device(device).type == DEVICE.type


class _MadeInside(TorchDispatchMode):
    """What torch itself makes on the device, without a tensor that is there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if _there(kwargs.get("device")) and not any(
            isinstance(leaf, Far) for leaf in tree_leaves((args, kwargs))
        ):
            return far(_recorded(func, args, {**kwargs, "device": torch.device("cpu")}))
        return func(*args, **kwargs)


class _Asked(TorchFunctionMode):
    """What the program makes there, sends there and reads from there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], Far):
            _wait("tolist")
            return args[0].held.tolist()
        if func is Tensor.to:
            return _to(*args, **kwargs)
        if not _there(kwargs.get("device")):
            return func(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor):
            _wait("torch.tensor")
        learned = kwargs.pop("requires_grad", False)
        made = far(_recorded(func, tuple(map(near, args)), {**kwargs, "device": "cpu"}))
        return made.requires_grad_() if learned else made


def _to(tensor: Tensor, *args: Any, non_blocking: bool = False, copy: bool = False, **kwargs: Any) -> Any:
    """`Tensor.to`, in all its forms."""
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
    if _there(device) and not isinstance(tensor, Far):
        if _RECORDING:
            raise RuntimeError("a copy from the host is not permitted while the device records")
        if not non_blocking:
            _wait("to")
        tensor = _Send.apply(tensor)
    kwargs |= {} if dtype is None else {"dtype": dtype}
    kwargs |= {} if device is None or _there(device) else {"device": device}
    return tensor.to(copy=copy, **kwargs) if copy or kwargs else tensor


@contextmanager
def simulated() -> Iterator[list[str]]:
    """Inside, `DEVICE` is a device; what is yielded grows by one sentence for every wait, with its place."""
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    _WAITS.clear()
    try:
        # views of a subclass cannot be made in inference mode; without gradients it computes the same
        with patch("torch.inference_mode", torch.no_grad), _Asked(), _MadeInside():
            yield _WAITS
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)


@contextmanager
def asked_for(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> Iterator[None]:
    """Whatever device is asked for, it is this one."""
    with monkeypatch.context() as patch:
        for module in list(sys.modules.values()):
            if module.__name__.startswith("condensed_data") and hasattr(module, "choose_device"):
                patch.setattr(module, "choose_device", lambda asked: device)
        yield
