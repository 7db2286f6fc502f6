"""Where and how precisely to compute."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist
from torch import Tensor

PRECISIONS = ("auto", "fp32", "bf16")


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device for "auto", None, a name or a torch device.

    Raises:
        ValueError: for an unknown or absent device; the present ones are listed.
    """
    present = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present.append("mps")
    if device is None or device == "auto":
        if torch.cuda.device_count() and dist.is_available() and dist.is_initialized():
            return torch.device("cuda", torch.cuda.current_device())  # each rank has set its own
        return torch.device(next((name for name in present[1:]), "cpu"))
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device={device!r} is unknown. Present here: auto, {', '.join(present)}.") from None
    name = f"cuda:{chosen.index or 0}" if chosen.type == "cuda" else chosen.type
    if name not in present:
        raise ValueError(f"device={device!r} is not present. Present here: auto, {', '.join(present)}.")
    return torch.device(name)


def choose_precision(precision: str, device: torch.device) -> str:
    """Choose "fp32" or "bf16": "auto" takes bf16 where the device multiplies it faster than fp32.

    Raises:
        ValueError: for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} is unknown; known: {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type != "cpu":
        return "fp32"
    # AVX-512 alone emulates bf16; only these two multiply it.
    checks = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return "bf16" if any(check() for check in checks if check is not None) else "fp32"


def supports_async_copy(device: torch.device) -> bool:
    """Whether a copy from the host to a device may be left to happen in its turn: `non_blocking` of torch.

    CUDA reads ordinary memory before the call returns, and keeps the order of what was asked of it. On MPS such copies
    may read memory that was given back (https://github.com/pytorch/pytorch/issues/189690), so they are waited for.
    """
    return device.type != "mps"


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The same on `device`, without waiting for what that is doing, where that is safe."""
    return tensor.to(
        device, tensor.dtype if dtype is None else dtype, non_blocking=supports_async_copy(device)
    )


def device_time(device: torch.device) -> float:
    """Seconds that pass while this process computes.

    Of the processor, a thread, on a CPU, so that other work on the machine does not count; of the clock elsewhere, once
    the device has finished.
    """
    if device.type == "cpu":
        return time.process_time() / torch.get_num_threads()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
