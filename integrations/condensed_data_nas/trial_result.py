"""The result of one configuration: accuracies and costs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from condensed_data.core.device import device_time

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Result:
    """Accuracies and costs of one configuration.

    Attributes:
        config: the configuration.
        values: accuracy in [0, 1] of each network on the validation samples; empty if it failed.
        curve: (epoch, accuracy) of the first network.
        seconds: of all networks; on a CPU processor time per thread, which other work on the machine does not lengthen,
            elsewhere wall-clock time.
        parameters: trainable parameters of one network.
        flops: floating-point operations of a forward pass of one sample, as `torch.utils.flop_counter` counts them.
        peak_bytes: peak memory of the device, or of this process on a CPU; None if unknown.
        error: why it failed, else empty.
    """

    config: Mapping[str, Any]
    values: tuple[float, ...] = ()
    curve: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0
    parameters: int | None = None
    flops: int | None = None
    peak_bytes: int | None = None
    error: str = ""

    @property
    def value(self) -> float:
        """Mean accuracy; 0, the lowest possible, if the configuration failed."""
        return statistics.fmean(self.values) if self.values else 0.0

    @property
    def failed(self) -> bool:
        """Whether the configuration could not be trained, or not be scored."""
        return bool(self.error) or not self.values

    @property
    def metrics(self) -> dict[str, Any]:
        """Seconds, parameters, FLOPs and peak memory as far as they are known, and the error if there was one."""
        names = ("seconds", "parameters", "flops", "peak_bytes")
        known = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return known | ({"error": self.error} if self.error else {})

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> Result:
        """Read the JSON of `dataclasses.asdict`, whose tuples became lists."""
        curve = tuple((epoch, value) for epoch, value in fields["curve"])
        return Result(**{**fields, "values": tuple(fields["values"]), "curve": curve})


@dataclass
class Costs:
    """Time and peak memory, see `Result`."""

    seconds: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def measure_costs(device: torch.device) -> Iterator[Costs]:
    """Measure a block; its costs are known once it has ended, with an error or without."""
    costs = Costs()
    _reset_peak(device)
    started = device_time(device)
    try:
        yield costs
    finally:
        costs.seconds, costs.peak_bytes = device_time(device) - started, _peak(device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu" and _RESET.exists():
        try:
            _RESET.write_text("5")  # see proc(5): resets the peak of resident memory
        except OSError:  # not permitted: the peak is that of the process so far
            return


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu" or not _STATUS.exists():
        return None
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return 1024 * int(lines["VmHWM"].split()[0])


def count_parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
