"""What one configuration gave, and what it cost."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

from condensed_data.core.device import device_time

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Result:
    """One configuration, trained and tested.

    Attributes:
        config: what was trained.
        values: accuracy in [0, 1] of each network on the validation samples; none where it failed.
        curve: (epoch, accuracy) of the first network.
        seconds: of all networks: of the processor, a thread, on a CPU, so that other work on the machine does not
            count; of the clock elsewhere.
        parameters: of one network.
        flops: floating-point operations of a forward of one sample, as `torch.utils.flop_counter` counts them.
        peak_bytes: most memory in use: of the device, or of this process on a CPU; None where it is not known.
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
        """Mean accuracy; 0, the lowest there is, for a configuration that failed."""
        return statistics.fmean(self.values) if self.values else 0.0

    @property
    def failed(self) -> bool:
        """Whether there is no network of this configuration."""
        return not self.values

    @property
    def facts(self) -> dict[str, Any]:
        """What is told beside the accuracy: time, parameters, FLOPs, peak memory, and the error if there was one."""
        names = ("seconds", "parameters", "flops", "peak_bytes")
        facts = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return facts | ({"error": self.error} if self.error else {})

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Result:
        """What `to_json` wrote."""
        read = json.loads(text)
        read["values"] = tuple(read["values"])
        read["curve"] = tuple((epoch, value) for epoch, value in read["curve"])
        return Result(**read)


@dataclass
class CostMeter:
    """A context that measures what happens inside.

    Attributes:
        device: where it happens.
        seconds, peak_bytes: see `Result`; known at the end.
    """

    device: torch.device
    seconds: float = 0.0
    peak_bytes: int | None = None
    _started: float = field(default=0.0, repr=False)

    def __enter__(self) -> CostMeter:
        _reset_peak(self.device)
        self._started = device_time(self.device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds, self.peak_bytes = device_time(self.device) - self._started, _peak(self.device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu" and _RESET.exists():
        try:
            _RESET.write_text("5")  # of proc(5): the peak of resident memory begins anew
        except OSError:  # not allowed here: the peak is that of the process so far
            return


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu" or not _STATUS.exists():
        return None
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return 1024 * int(lines["VmHWM"].split()[0])


def parameters(module: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
