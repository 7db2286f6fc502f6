"""The memory, independent of Avalanche: takes in real samples class by class and keeps few condensed ones.

A cell holds one class of one task. New samples are staged, then condensed together with what the cell kept of earlier
ones; a cell whose limit shrinks merges its samples. A cell always yields as many samples as its limit allows: staged
ones fill up what condensed ones leave.

Letters: n samples, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from condensed_data.core.rng import RandomStreams
from condensed_data.methods.centroids import assign
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic.low_resolution import downsample
from condensed_data_avalanche.condenser import compares_full_size, condense, reads_labels
from condensed_data_avalanche.storage import Cell, Key, QuantizedSamples

MAX_REPEATS = 9  # kept samples count at most this many times as much as new ones, however many they stand for


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


@dataclass(frozen=True, eq=False)
class _Job:
    """Samples that are to be learned for one cell.

    Attributes:
        retained: samples that the cell keeps as they are, at stored size.
        real: how many of these are real ones.
        source: real samples to condense, at the size that the recipe compares.
        count: samples to learn.
        shape: of a decoded sample.
    """

    cell: Cell
    retained: Tensor
    real: int
    source: Tensor
    count: int
    shape: tuple[int, ...]


class Memory:
    """All cells, in the order in which they were first seen.

    Attributes:
        cells: by class and task.
        updates: how often samples were condensed; part of the names of random draws.
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
    def num_staged(self) -> int:
        """Number of staged samples."""
        return sum(cell.num_staged for cell in self.cells.values())

    def stage(self, key: Key, samples: Tensor, exact: bool) -> None:
        """Take in real samples (n, *shape); `exact` keeps float32, for those that are condensed at once."""
        cell = self.cells.setdefault(key, Cell())
        dtype = torch.float32 if exact else self.settings.dtype
        shape = tuple(samples.shape[1:])
        cell.staged.append(QuantizedSamples.quantize(samples, shape, dtype, real=len(samples)))
        cell.seen += len(samples)

    def condense(self, limits: Mapping[Key, int], device: torch.device) -> list[Key]:
        """Condense all staged samples, and shrink the other cells. Returns the keys of the changed cells."""
        changed = {key: cell for key, cell in self.cells.items() if cell.staged}
        for key, cell in changed.items():
            cell.limit = limits[key]
        jobs = [self._prepare(key, cell) for key, cell in changed.items()]
        self._learn([job for job in jobs if job is not None], device)
        for cell in changed.values():
            cell.staged = []
        self.updates += 1
        return [*changed, *self.shrink(limits)]

    def limits(self, lengths: list[int]) -> dict[Key, int]:
        """The limit of every cell: `lengths`, one per class, divided evenly over the tasks of the class."""
        tasks: dict[int, list[Key]] = {}
        for key in self.cells:
            tasks.setdefault(key[0], []).append(key)
        limits: dict[Key, int] = {}
        for keys, length in zip(tasks.values(), lengths, strict=True):
            each, remainder = divmod(length, len(keys))
            limits |= {key: each + (index < remainder) for index, key in enumerate(keys)}
        return limits

    def shrink(self, limits: Mapping[Key, int]) -> list[Key]:
        """Merge the samples of cells that exceed their limit. Returns the keys of the changed cells."""
        changed = []
        for key, cell in self.cells.items():
            cell.limit = limits[key]
            if cell.kept is not None and len(cell.kept) > cell.limit:
                cell.kept = self._merged(key, cell.kept, cell.limit)
                changed.append(key)
        return changed

    def class_samples(self, label: int, with_logits: bool) -> tuple[list[Tensor], list[int], list[Tensor]]:
        """Parts of (n, *shape) float32 samples of a class, the task of every sample, and parts of (n, K) logits.

        `with_logits` leaves out staged samples, which have no logits.
        """
        samples, tasks, logits = list[Tensor](), list[int](), list[Tensor]()
        for (known, task), cell in self.cells.items():
            if known == label:
                parts = cell.decode()[: cell.kept is not None] if with_logits else cell.decode()
                samples += parts
                tasks += [task] * sum(map(len, parts))
                if cell.kept is not None and cell.kept.logits is not None:
                    logits.append(cell.kept.logits)
        return samples, tasks, logits

    def _prepare(self, key: Key, cell: Cell) -> _Job | None:
        """Keep all samples of a cell if they fit; else return the job of condensing them."""
        limit = cell.limit
        new = torch.cat([part.decode() for part in cell.staged])
        shape = tuple(new.shape[1:])
        old = cell.kept if cell.kept is not None else self._stored(self._downsample(new[:1])[:0], shape, 0)
        if len(old) + len(new) <= limit or limit == 0:
            rows = old.dequantize()
            generator = RandomStreams(self.settings.seed).numpy("order", self.updates, *key)
            order = torch.from_numpy(generator.permutation(old.real + len(new)))
            real = torch.cat([rows[: old.real], self._downsample(new)])[order]
            cell.kept = self._stored(torch.cat([real, rows[old.real :]])[:limit], shape, min(len(real), limit))
            return None
        retained, num_real = self._retained(key, cell, old, new)
        count = limit - len(retained)
        if count == 0:
            cell.kept = self._stored(retained, shape, num_real)
            return None
        source = new if compares_full_size(self.settings.recipe) else self._downsample(new)
        if self.settings.learns:
            source = _weighted(self._comparable(old), source, cell.seen - len(new))
        return _Job(cell, retained, num_real, source, count, shape)

    def _comparable(self, kept: QuantizedSamples) -> Tensor:
        """Kept samples at the size that the recipe compares, so that enlarging does not blur them needlessly."""
        return kept.decode() if compares_full_size(self.settings.recipe) else kept.dequantize()

    def _downsample(self, samples: Tensor) -> Tensor:
        """Average real samples over areas: (n, *shape) -> (n, *shape / factor) float32, as they are stored."""
        return downsample(samples.float(), self.settings.factor)

    def _retained(self, key: Key, cell: Cell, old: QuantizedSamples, new: Tensor) -> tuple[Tensor, int]:
        """Samples to keep as they are, and how many of them are real (0 for a coreset)."""
        limit, before = cell.limit, cell.seen - len(new)
        if not self.settings.learns:
            keep = min(len(old), max(round(limit * before / cell.seen), limit - len(new)))
            return old.dequantize()[:keep], 0
        wanted = round(limit * self.settings.real_fraction)
        if not wanted:
            return old.dequantize()[:0], 0
        generator = RandomStreams(self.settings.seed).numpy("real", self.updates, *key)
        # a uniform sample of all samples seen, from uniform samples of the old and the new ones
        kept = int(generator.hypergeometric(before, len(new), wanted)) if before else 0
        kept = min(max(kept, wanted - len(new)), old.real)
        chosen = torch.from_numpy(generator.permutation(len(new))[: wanted - kept])
        rows = torch.cat([old.dequantize()[:kept], self._downsample(new[chosen])])
        return rows[torch.from_numpy(generator.permutation(len(rows)))], len(rows)

    def _learn(self, jobs: list[_Job], device: torch.device) -> None:
        if not jobs:
            return
        sources, counts = [job.source for job in jobs], [job.count for job in jobs]
        others = [cell for cell in self.cells.values() if cell.num_kept and not cell.staged]
        if len(jobs) == 1 and reads_labels(self.settings.recipe):
            # a recipe that compares classes with each other needs more than the single new one
            sources += [self._comparable(cell.kept) for cell in others if cell.kept is not None]
            counts += [1] * len(others)
        settings = self.settings
        seed = RandomStreams(settings.seed).seed_for("condense", self.updates)
        found = condense(sources, counts, settings.recipe, settings.factor, seed, device, settings.precision)
        for job, rows in zip(jobs, found, strict=False):
            job.cell.kept = self._stored(torch.cat([job.retained, rows]), job.shape, job.real)

    def _merged(self, key: Key, kept: QuantizedSamples, limit: int) -> QuantizedSamples:
        """Fewer samples: the first real ones, and cluster means of the rest; of a coreset the first ones."""
        if not self.settings.learns or limit == 0:
            return kept.take(torch.arange(limit), min(kept.real, limit))
        real = min(kept.real, round(limit * self.settings.real_fraction))
        rows, logits = kept.dequantize(), kept.logits
        seed = RandomStreams(self.settings.seed).seed_for("merge", self.updates, *key)
        groups = [torch.tensor([index]) for index in range(real)]
        if limit > real:
            clusters = [members + real for members in assign(rows[real:], limit - real, seed)]
            groups += (clusters * (limit - real))[: limit - real]
        return QuantizedSamples.quantize(
            torch.stack([rows[members].mean(0) for members in groups]),
            kept.shape,
            self.settings.dtype,
            real,
            None if logits is None else torch.stack([logits[members].float().mean(0) for members in groups]),
        )

    def _stored(self, rows: Tensor, shape: tuple[int, ...], real: int) -> QuantizedSamples:
        return QuantizedSamples.quantize(rows, shape, self.settings.dtype, real)


def _weighted(old: Tensor, new: Tensor, before: int) -> Tensor:
    """Kept samples followed by new ones; kept ones are repeated to count for the `before` samples they stand for."""
    if not len(old):
        return new
    repeats = min(round(before / len(old)), MAX_REPEATS * len(new) // len(old))
    return torch.cat([old.repeat(max(1, repeats), *[1] * (new.dim() - 1)), new])
