"""Compact storage of all samples of a source: 8 bits per value if that is lossless, on disk if memory is short.

Float samples with at most 256 distinct values per channel (normalized 8-bit images, for example) are stored as 8-bit
codes and a table of values, without loss. Letters: n samples, B rows, C channels or features.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from condensed_data.core.device import to_device
from condensed_data.core.sizes import format_bytes

CHUNK = 1024


def available_memory() -> int:
    """Bytes of memory that are available without swapping, within the limit of a container."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":") for line in file)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        free = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) // 2
    return max(0, min(free, container_memory(Path("/sys/fs/cgroup"), free)))


def container_memory(folder: Path, default: int) -> int:
    """Bytes that the control group (version 2) of `folder` leaves free; `default` without a limit."""
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (folder / "memory.stat").read_text().splitlines()
        return limit - used + int(dict(line.split() for line in lines)["inactive_file"])  # a cache, given up on demand
    except (OSError, ValueError, KeyError):  # no control group, or its limit is "max"
        return default


class TooLargeError(ValueError):
    """Something does not fit into memory; the message says what to change."""


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Raise TooLargeError, "`what`, which needs ... `remedy`.", if fewer than `needed` bytes of memory are free."""
    free = available_memory()
    if needed > free:
        raise TooLargeError(
            f"{what}, which needs {format_bytes(needed)} of memory, but only {format_bytes(free)} is free. {remedy}."
        )


@dataclass(frozen=True, eq=False)
class SampleStore:
    """Samples by index."""

    rows: Tensor  # (n, *shape) uint8 or float32: the samples, or the codes of their values
    # (C, codes) float32, the value of each code in each channel; None if `rows` are the samples
    table: Tensor | None = None
    on_disk: bool = False  # whether `rows` is a file

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bytes(self) -> int:
        """Bytes of all samples, in memory or on disk."""
        return self.rows.numel() * self.rows.element_size()

    def __getitem__(self, index: Tensor) -> Tensor:
        """Samples (len(index), *shape), uint8 or float32 as written, on the device of the store."""
        return _decode(self.rows[to_device(index, self.rows.device)], self.table)

    def chunks(self) -> Iterator[Tensor]:
        """Iterate over all samples in order, `CHUNK` at a time."""
        for rows in self.rows.split(CHUNK):
            yield _decode(rows, self.table)

    def needs_transfer(self, device: torch.device) -> bool:
        """Whether fetching rows for `device` waits for a disk or a copy between devices."""
        return self.on_disk or self.rows.device.type != device.type

    def to(self, device: torch.device) -> SampleStore:
        """Copy the samples to `device` if they fit into a quarter of its free memory; otherwise return self."""
        if device.type == "cpu" or (device.type == "cuda" and self.bytes > torch.cuda.mem_get_info(device)[0] // 4):
            return self
        table = None if self.table is None else self.table.to(device)
        return SampleStore(self.rows.to(device), table)


def _decode(rows: Tensor, table: Tensor | None) -> Tensor:
    """Samples (B, *shape) from rows of a store."""
    if table is None:
        return rows
    codes = rows.transpose(0, 1).flatten(1).long()
    return table.gather(1, codes).view(rows.transpose(0, 1).shape).transpose(0, 1).contiguous()


class SampleStoreWriter:
    """Fills a store in order, batch by batch.

    Args:
        count, shape: number of samples, and shape of one.
        eight_bit: whether the samples are uint8.
        limit: most bytes to keep in memory; a larger store is a file. None for half of the available memory.
        folder: folder of that file; the system's temporary folder by default. The file has no name, so that nothing
            is left behind however the process ends. OSError is raised if the disk has no room for it.
    """

    def __init__(
        self, count: int, shape: tuple[int, ...], eight_bit: bool, limit: int | None = None, folder: Path | None = None
    ) -> None:
        self.shape = (count, *shape)
        self.limit = available_memory() // 2 if limit is None else limit
        self.folder = folder
        self.table: Tensor | None = None if eight_bit else torch.zeros(shape[0], 0)
        self.rows = self._allocate(torch.uint8)

    def write(self, start: int, samples: Tensor) -> None:
        """Store samples (B, *shape) uint8 or float32 at `start`, `start + 1`, ..."""
        if self.table is not None and not self._fits_table(samples):
            self._widen_to_float(start)
        self.rows[start : start + len(samples)] = samples if self.table is None else self._encode(samples)

    def finish(self) -> SampleStore:
        """The store, after all samples were written."""
        return SampleStore(self.rows, self.table, self.on_disk)

    def _allocate(self, dtype: torch.dtype) -> Tensor:
        size = math.prod(self.shape) * dtype.itemsize
        self.on_disk = size > self.limit
        if not self.on_disk:
            return torch.empty(self.shape, dtype=dtype)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder, prefix="condensed-data-store-") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # fail now on a full disk, not halfway
            numpy_type = np.uint8 if dtype == torch.uint8 else np.float32
            return torch.from_numpy(np.memmap(file, numpy_type, "r+", shape=self.shape))

    def _fits_table(self, samples: Tensor) -> bool:
        """Add new values of these samples to the table; False if a channel would have more than 256."""
        assert self.table is not None
        values = samples.transpose(0, 1).flatten(1).contiguous()
        if self.table.shape[1] and torch.equal(self._nearest(values)[1], values):
            return True
        # Append new values, so that old ones keep their codes. Shorter channels repeat their last value.
        rows = []
        for known, row in zip(self._known(), map(torch.unique, values), strict=True):
            rows.append(torch.cat([known, row[~torch.isin(row, known)]]))
        largest = max(map(len, rows))
        if largest > 256:
            return False
        self._counts = torch.tensor([len(row) for row in rows])
        self.table = torch.stack([torch.cat([row, row[-1:].expand(largest - len(row))]) for row in rows])
        return True

    def _known(self) -> list[Tensor]:
        """The distinct values of each channel, by code."""
        assert self.table is not None
        if not self.table.shape[1]:
            return list(self.table)
        return [row[:count] for row, count in zip(self.table, self._counts.tolist(), strict=True)]

    def _nearest(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of values (C, m) and the values of these codes; equal if the table has the value."""
        assert self.table is not None
        ordered, order = self.table.sort(dim=1, stable=True)  # a value before its repeats
        position = torch.searchsorted(ordered, values).clamp_max(ordered.shape[1] - 1)
        return order.gather(1, position), ordered.gather(1, position)

    def _encode(self, samples: Tensor) -> Tensor:
        values = samples.transpose(0, 1)
        codes = self._nearest(values.flatten(1).contiguous())[0]
        return codes.to(torch.uint8).view(values.shape).transpose(0, 1)

    def _widen_to_float(self, written: int) -> None:
        """Switch to float32, because a channel has more than 256 distinct values."""
        rows = self._allocate(torch.float32)
        for start in range(0, written, CHUNK):
            end = min(start + CHUNK, written)
            rows[start:end] = _decode(self.rows[start:end], self.table)
        self.rows, self.table = rows, None
