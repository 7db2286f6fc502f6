"""What a device takes for a piece of work: seconds, memory and the rate of its products.

Seconds are those of `condensed_data.core.device.device_time`: of the processor over its threads on a
CPU, of the wall elsewhere.
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
SIDE, DEVICE_SIDE = 2048, 8192  # of the matrices whose product tells the rate, on a CPU and elsewhere


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, until the device has finished."""
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
    """Let `peak_bytes` begin anew where it can: on CUDA."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """The most that was allocated on CUDA; elsewhere the most that the process had resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def name_of(device: torch.device) -> str:
    """What the device is called."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def folder_of(folder: Path, device: torch.device) -> Path:
    """Where measurements of a device lie: in the folder, but those of no CPU in one of the device's name in it."""
    return folder if device.type == "cpu" else folder / str(device).replace(":", "")
