"""The memory itself, without Avalanche: cells that take in real samples and keep few.

A cell is a class of one task. New samples are staged, then condensed together with what the cell kept of earlier
ones; a cell whose share shrinks merges its samples. A cell always yields as many samples as its share allows: staged
ones fill what condensed ones leave.

Letters: n samples, N a cell's share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from condensed_data.core.rng import RandomStreams
from condensed_data.methods.centroids import assign
from condensed_data.methods.recipe import Recipe
from condensed_data_avalanche.condenser import compares_full_size, condense, reads_labels, small
from condensed_data_avalanche.quantized import QuantizedSamples

Key = tuple[int, int]  # class and task
MOST_REPEATS = 9  # kept samples outnumber new ones at most so many times, however many they stand for


@dataclass(frozen=True)
class Settings:
    """How a memory condenses; see `CondensedBuffer`."""

    recipe: Recipe
    factor: int
    dtype: torch.dtype
    real_fraction: float
    precision: str
    seed: int

    @property
    def learns(self) -> bool:
        """Whether kept samples are learned; a coreset keeps real ones as they are."""
        return bool(self.recipe.terms)


@dataclass
class Cell:
    """One class of one task.

    Attributes:
        kept: what was condensed, or is few enough to be kept whole.
        staged: real samples that came after, at full size.
        seen: real samples that came until now.
        limit: N.
    """

    kept: QuantizedSamples | None = None
    staged: list[QuantizedSamples] = field(default_factory=list)
    seen: int = 0
    limit: int = 0

    @property
    def kept_count(self) -> int:
        return 0 if self.kept is None else len(self.kept)

    @property
    def waiting(self) -> int:
        """Samples that are staged."""
        return sum(map(len, self.staged))

    @property
    def nbytes(self) -> int:
        """Bytes of all that the cell holds."""
        return sum(part.nbytes for part in (self.kept, *self.staged) if part is not None)

    def decode(self) -> list[Tensor]:
        """The samples that the cell yields, in parts of (n, *shape) float32."""
        parts = [] if self.kept is None else [self.kept.decode()]
        room = self.limit - self.kept_count
        for part in self.staged:
            if room > 0:
                parts.append(part.decode()[:room])
                room -= len(parts[-1])
        return parts


@dataclass(frozen=True, eq=False)
class _Job:
    """What is left to learn of one cell: `count` samples from `source`, after those that stay.

    `source` is of the size that the recipe compares, a decoded sample of `shape`.
    """

    cell: Cell
    stay: Tensor
    real: int
    source: Tensor
    count: int
    shape: tuple[int, ...]


class Memory:
    """All cells, in the order in which they were first seen.

    Attributes:
        cells: by class and task.
        updates: how often samples were condensed; it names the random draws.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cells: dict[Key, Cell] = {}
        self.updates = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all cells."""
        return sum(cell.nbytes for cell in self.cells.values())

    @property
    def waiting(self) -> int:
        """Samples that are staged."""
        return sum(cell.waiting for cell in self.cells.values())

    def stage(self, key: Key, samples: Tensor, exact: bool) -> None:
        """Take in real samples (n, *shape); `exact` for those that are condensed at once."""
        cell = self.cells.setdefault(key, Cell())
        dtype = torch.float32 if exact else self.settings.dtype
        cell.staged.append(QuantizedSamples.of(samples, tuple(samples.shape[1:]), dtype, real=len(samples)))
        cell.seen += len(samples)

    def condense(self, limits: Mapping[Key, int], device: torch.device) -> list[Key]:
        """Condense all that is staged, and shrink the other cells. Returns the keys of the changed cells."""
        found = {key: cell for key, cell in self.cells.items() if cell.staged}
        jobs = []
        for key, cell in found.items():
            cell.limit = limits[key]
            job = self._prepare(key, cell)
            if job is not None:
                jobs.append(job)
        self._learn(jobs, device)
        for cell in found.values():
            cell.staged = []
        self.updates += 1
        return [*found, *self.shrink(limits)]

    def shares(self, lengths: list[int]) -> dict[Key, int]:
        """Every cell's share of `lengths`, one a class: evenly over the class's tasks."""
        tasks: dict[int, list[Key]] = {}
        for key in self.cells:
            tasks.setdefault(key[0], []).append(key)
        limits: dict[Key, int] = {}
        for keys, length in zip(tasks.values(), lengths, strict=True):
            each, more = divmod(length, len(keys))
            limits |= {key: each + (index < more) for index, key in enumerate(keys)}
        return limits

    def shrink(self, limits: Mapping[Key, int]) -> list[Key]:
        """Merge what is more than a cell's share. Returns the keys of the changed cells."""
        changed = []
        for key, cell in self.cells.items():
            cell.limit = limits[key]
            if cell.kept is not None and len(cell.kept) > cell.limit:
                cell.kept = self._merged(key, cell.kept, cell.limit)
                changed.append(key)
        return changed

    def _prepare(self, key: Key, cell: Cell) -> _Job | None:
        """Keep a cell whole where it fits; else say what has to be learned."""
        limit = cell.limit
        new = torch.cat([part.decode() for part in cell.staged])
        shape = tuple(new.shape[1:])
        old = cell.kept if cell.kept is not None else self._stored(self._small(new[:1])[:0], shape, 0)
        if len(old) + len(new) <= limit or limit == 0:
            rows = old.small()
            order = self._shuffled(key, old.real + len(new))
            fresh = torch.cat([rows[: old.real], self._small(new)])[order]
            together = torch.cat([fresh, rows[old.real :]])[:limit]
            cell.kept = self._stored(together, shape, min(len(fresh), limit))
            return None
        stay, real = self._stay(key, cell, old, new)
        count = limit - len(stay)
        if count == 0:
            cell.kept = self._stored(stay, shape, real)
            return None
        source = new if compares_full_size(self.settings.recipe) else self._small(new)
        if self.settings.learns:
            source = _weighted(self._compared(old), source, cell.seen - len(new))
        return _Job(cell, stay, real, source, count, shape)

    def _compared(self, kept: QuantizedSamples) -> Tensor:
        """Kept samples at the size that the recipe compares; stored ones are not blurred by enlarging them for it."""
        return kept.decode() if compares_full_size(self.settings.recipe) else kept.small()

    def _small(self, samples: Tensor) -> Tensor:
        return small(samples, self.settings.factor)

    def _stay(self, key: Key, cell: Cell, old: QuantizedSamples, new: Tensor) -> tuple[Tensor, int]:
        """Samples that are kept as they are, and how many of them are real ones beside learned ones."""
        limit, before = cell.limit, cell.seen - len(new)
        if not self.settings.learns:
            keep = min(len(old), max(round(limit * before / cell.seen), limit - len(new)))
            return old.small()[:keep], 0
        wanted = round(limit * self.settings.real_fraction)
        if not wanted:
            return old.small()[:0], 0
        draws = RandomStreams(self.settings.seed).numpy("real", self.updates, *key)
        # a uniform sample of all that was seen, from uniform samples of both parts
        kept = int(draws.hypergeometric(before, len(new), wanted)) if before else 0
        kept = min(max(kept, wanted - len(new)), old.real)
        fresh = torch.from_numpy(draws.permutation(len(new))[: wanted - kept])
        rows = torch.cat([old.small()[:kept], self._small(new[fresh])])
        return rows[torch.from_numpy(draws.permutation(len(rows)))], len(rows)

    def _learn(self, jobs: list[_Job], device: torch.device) -> None:
        if not jobs:
            return
        sources, counts = [job.source for job in jobs], [job.count for job in jobs]
        others = [cell for cell in self.cells.values() if cell.kept_count and not cell.staged]
        if len(jobs) == 1 and reads_labels(self.settings.recipe):
            # recipes that tell classes apart need others to tell a single new one from
            sources += [self._compared(cell.kept) for cell in others if cell.kept is not None]
            counts += [1] * len(others)
        settings = self.settings
        seed = RandomStreams(settings.seed).seed_for("condense", self.updates)
        found = condense(sources, counts, settings.recipe, settings.factor, seed, device, settings.precision)
        for job, rows in zip(jobs, found, strict=False):
            job.cell.kept = self._stored(torch.cat([job.stay, rows]), job.shape, job.real)

    def _merged(self, key: Key, kept: QuantizedSamples, limit: int) -> QuantizedSamples:
        """Fewer samples: the first real ones, and means of clusters of the rest; of a coreset the first ones."""
        if not self.settings.learns or limit == 0:
            return kept.take(torch.arange(limit), min(kept.real, limit))
        real = min(kept.real, round(limit * self.settings.real_fraction))
        rows, logits = kept.small(), kept.logits
        seed = RandomStreams(self.settings.seed).seed_for("merge", self.updates, *key)
        groups = [torch.tensor([index]) for index in range(real)]
        if limit > real:
            clusters = [members + real for members in assign(rows[real:], limit - real, seed)]
            groups += (clusters * (limit - real))[: limit - real]
        return QuantizedSamples.of(
            torch.stack([rows[members].mean(0) for members in groups]),
            kept.shape,
            self.settings.dtype,
            real,
            None if logits is None else torch.stack([logits[members].float().mean(0) for members in groups]),
        )

    def _shuffled(self, key: Key, count: int) -> Tensor:
        order: np.ndarray[tuple[int], np.dtype[np.int64]] = (
            RandomStreams(self.settings.seed).numpy("order", self.updates, *key).permutation(count)
        )
        return torch.from_numpy(order)

    def _stored(self, rows: Tensor, shape: tuple[int, ...], real: int) -> QuantizedSamples:
        return QuantizedSamples.of(rows, shape, self.settings.dtype, real)


def _weighted(old: Tensor, new: Tensor, before: int) -> Tensor:
    """Kept samples beside new ones, repeated so that they count for the `before` samples that they stand for."""
    if not len(old):
        return new
    repeats = min(round(before / len(old)), MOST_REPEATS * len(new) // len(old))
    return torch.cat([old.repeat(max(1, repeats), *[1] * (new.dim() - 1)), new])
