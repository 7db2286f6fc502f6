"""Choice of device and precision, copies to a device, and timing."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from condensed_data.core.names import did_you_mean
from condensed_data.core.validation import check_choice

PRECISIONS = ("auto", "fp32", "bf16")


def choose_device(device: str | torch.device | None) -> torch.device:
    """Resolve a device: "auto" or None for the first accelerator or else the CPU; a name; or a torch device.

    For an unknown or unavailable device, ValueError lists the available ones.
    """
    available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if device is None or device == "auto":
        if torch.cuda.device_count() and dist.is_available() and dist.is_initialized():
            return torch.device("cuda", torch.cuda.current_device())  # the device of this rank
        return torch.device(next((name for name in available[1:]), "cpu"))
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device={device!r} is unknown; available: auto, {', '.join(available)}.{did_you_mean(device, available)}"
        ) from None
    name = f"cuda:{chosen.index or 0}" if chosen.type == "cuda" else chosen.type
    if name not in available:
        raise ValueError(f"device={device!r} is not available; available: auto, {', '.join(available)}.")
    return torch.device(name)


def choose_precision(precision: str, device: torch.device) -> str:
    """Resolve "fp32", "bf16" or "auto" (bf16 if it multiplies faster than fp32); others raise ValueError."""
    check_choice(None, "precision", precision, PRECISIONS)
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type != "cpu":
        return "fp32"
    # AVX-512 alone only emulates bf16; these two extensions multiply it.
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return "bf16" if any(check() for check in checks if check is not None) else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 for precision "bf16"; nothing for "fp32"."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def supports_async_copy(device: torch.device) -> bool:
    """Whether copies from the host to this device are safe with torch's `non_blocking=True`.

    CUDA reads pageable memory before the call returns, and runs operations in order. On MPS such copies may read
    memory that was already freed (https://github.com/pytorch/pytorch/issues/189690), so they must block.
    """
    return device.type != "mps"


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Copy a tensor to `device`, asynchronously if that is safe."""
    return tensor.to(device, tensor.dtype if dtype is None else dtype, non_blocking=supports_async_copy(device))


def device_time(device: torch.device) -> float:
    """A clock in seconds for measuring computation on `device`.

    On a CPU it counts processor time per thread, so that other work on the machine does not count. On other devices
    it is the wall clock, after a CUDA device has finished its work.
    """
    if device.type == "cpu":
        return time.process_time() / torch.get_num_threads()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
