"""Measures time, memory and the speed of matrix products on a device.

Seconds are those of `condensed_data.core.device.device_time`: on a CPU processor time over the number of threads, on
other devices wall time.
"""

from __future__ import annotations

import platform
import resource
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

from condensed_data.core.device import device_time

WARM = 2
SIDE, DEVICE_SIDE = 2048, 8192  # sides of the matrices for `matrix_rate`, on a CPU and on other devices


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call until the device has finished."""
    started = device_time(device)
    call()
    return device_time(device) - started


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of a square product."""
    side = SIDE if device.type == "cpu" else DEVICE_SIDE
    a = torch.randn(side, side, device=device).to(dtype)
    times = [timed(lambda: torch.mm(a, a), device) for _ in range(12)]
    return 2 * side**3 / statistics.median(times[WARM:])


def reset_peak(device: torch.device) -> None:
    """Reset `peak_bytes` on CUDA; other devices cannot."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Peak of allocated bytes on CUDA; on other devices the peak of the process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_name(device: torch.device) -> str:
    """Name of the device, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def folder_of(folder: Path, device: torch.device) -> Path:
    """Folder for measurements of a device: `folder` for a CPU, otherwise a subfolder named after the device."""
    return folder if device.type == "cpu" else folder / str(device).replace(":", "")
