"""Settings of torch that hold for the whole process: the values that we compute with, see `torch_settings`."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch


class _Setting(NamedTuple):
    """A setting of the process: how to read and write it, and the value that we compute with.

    Its value is None if torch cannot tell it; then it stays as it is.
    """

    read: Callable[[], Any]
    write: Callable[[Any], Any]
    own: Any


def _flag(name: str, own: bool) -> _Setting:
    return _Setting(getattr(torch._C, f"_get_{name}"), getattr(torch._C, f"_set_{name}"), own)


def _none_if_refused(read: Callable[[], Any]) -> Callable[[], Any]:
    """Torch refuses to read the older flags of a precision after a newer one was set; `_FP32` holds all of these."""

    def read_or_none() -> Any:
        try:
            return read()
        except RuntimeError:
            return None

    return read_or_none


# (backend, operation) -> how fp32 is multiplied, in torch 2.9 and newer; "none" follows the backend's "all", and that
# of a backend the generic one
_FP32 = {
    **dict.fromkeys([("generic", "all"), ("cuda", "all"), ("mkldnn", "all")], "none"),
    **dict.fromkeys([("cuda", "matmul"), ("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn")], "none"),
    **dict.fromkeys([("cuda", "conv"), ("cuda", "rnn")], "tf32"),
}


def _fp32_precisions() -> tuple[str, ...] | None:
    read = getattr(torch._C, "_get_fp32_precision_getter", None)
    if read is None:
        return None
    values = []
    for backend, operation in _FP32:
        values.append(read(backend, operation))
        if operation == "all" and values[-1] != "none":  # else what follows it could not be told from what is set
            torch._C._set_fp32_precision_setter(backend, operation, "none")
    if any(value != "none" for value in values[:3]):
        _set_fp32_precisions(values)
    return tuple(values)


def _set_fp32_precisions(values: Sequence[str]) -> None:
    for key, value in zip(_FP32, values, strict=True):
        torch._C._set_fp32_precision_setter(*key, value)


def _compiler_stance() -> Any:
    """The stance of torch.compile, or "default", also before the compiler is imported."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return "default" if compiler is None or compiler._stance == compiler.DynamoStance() else compiler._stance


def _set_compiler_stance(stance: Any) -> None:
    compiler = sys.modules["torch._dynamo.eval_frame"]
    compiler._set_stance(compiler.DynamoStance() if stance == "default" else stance)


def _default_type() -> tuple[torch.dtype, str]:
    return torch.get_default_dtype(), str(torch._C._get_default_device())


def _set_default_type(value: tuple[torch.dtype, str]) -> None:
    dtype, device = value
    if device != _default_type()[1]:  # old programs set torch.cuda.FloatTensor, which torch deprecates with a warning
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.set_default_tensor_type(torch.empty(0, dtype=dtype, device=device).type())
    torch.set_default_dtype(dtype)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(modes: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])


def _sync_debug_mode() -> int:
    return torch.cuda.get_sync_debug_mode() if torch.cuda.is_initialized() else 0


_CUDA = torch.backends.cuda
# written in this order, because the older flags of a precision change the newer ones
_PROCESS_SETTINGS = (
    _Setting(_default_type, _set_default_type, (torch.float32, "cpu")),
    _Setting(_deterministic, _set_deterministic, (False, False)),
    _Setting(_none_if_refused(torch.get_float32_matmul_precision), torch.set_float32_matmul_precision, "highest"),
    _Setting(_none_if_refused(torch._C._get_cudnn_allow_tf32), torch._C._set_cudnn_allow_tf32, True),
    _Setting(_fp32_precisions, _set_fp32_precisions, tuple(_FP32.values())),
    _flag("cudnn_enabled", True),
    _flag("cudnn_benchmark", False),
    _flag("cudnn_deterministic", True),
    _flag("mkldnn_enabled", True),
    _flag("mkldnn_deterministic", False),
    _flag("nnpack_enabled", True),
    _Setting(_CUDA.flash_sdp_enabled, _CUDA.enable_flash_sdp, True),  # for attention on a CPU, too
    _Setting(_CUDA.mem_efficient_sdp_enabled, _CUDA.enable_mem_efficient_sdp, True),
    _Setting(_CUDA.math_sdp_enabled, _CUDA.enable_math_sdp, True),
    _Setting(_CUDA.cudnn_sdp_enabled, _CUDA.enable_cudnn_sdp, True),
    _Setting(torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled, True),
    _Setting(torch.is_anomaly_enabled, torch.set_anomaly_enabled, False),
    _Setting(torch.is_warn_always_enabled, torch.set_warn_always, False),
    _Setting(_sync_debug_mode, torch.cuda.set_sync_debug_mode, 0),
    _Setting(_compiler_stance, _set_compiler_stance, "default"),
)
_OWN = tuple(setting.own for setting in _PROCESS_SETTINGS)
_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):  # a process forked by another thread must not find the lock taken
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class _Callers:
    """What the first thread found that entered, and the number of threads inside."""

    threads = 0
    found: tuple[Any, ...] = ()


class _Depth(threading.local):
    """How often this thread entered without leaving."""

    entered = 0


_DEPTH = _Depth()


@contextmanager
def own_process_settings() -> Iterator[None]:
    """Compute with our own values of `_PROCESS_SETTINGS`; those found are restored at the end.

    Threads share them: the first thread that enters saves what it finds, and the last one that leaves restores it.
    """
    # Within a callback of ours the caller's code may change settings and enter again: what it found is restored at
    # once. Otherwise what one thread found may be what another one has set.
    nested = _DEPTH.entered > 0
    with _LOCK:
        found = tuple(setting.read() for setting in _PROCESS_SETTINGS)
        if not nested:
            if not _Callers.threads:
                _Callers.found = found
            _Callers.threads += 1
        _write(found, _OWN)
    _DEPTH.entered += 1
    try:
        yield
    finally:
        _DEPTH.entered -= 1
        with _LOCK:
            if not nested:
                _Callers.threads -= 1
                found = _Callers.found
            if nested or not _Callers.threads:
                _write(tuple(setting.read() for setting in _PROCESS_SETTINGS), found)


def _write(now: Sequence[Any], wanted: Sequence[Any]) -> None:
    for setting, old, new in zip(_PROCESS_SETTINGS, now, wanted, strict=True):
        if old != new and old is not None and new is not None:
            setting.write(new)
