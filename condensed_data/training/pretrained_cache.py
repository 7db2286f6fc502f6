"""Cache of everything that is trained on the real samples before a run: networks, and the trajectories of experts.

    <folder>/<key>/lock               taken by the process that trains
    <folder>/<key>/<i>.safetensors    the result of training job number i

The key is the sha256 of everything that determines the result: the fingerprint and labels of the data, the network, its
training, the seed, the precision, the kind of device and the kind of result. Files are written atomically and carry the
hash of their tensors; a corrupt one is reported and trained again. The parts of one run, and other runs with the same
seed, share these files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from condensed_data import networks
from condensed_data.core import spec as specs
from condensed_data.core.atomic import write_atomically
from condensed_data.core.caller_warnings import warn_caller
from condensed_data.core.process_group import ALONE, ProcessGroup
from condensed_data.core.sizes import format_bytes
from condensed_data.core.spec import require_resolved
from condensed_data.core.tensor_hash import content_hash
from condensed_data.core.torch_settings import call_with_own_settings
from condensed_data.training.pretraining import JobKind, PretrainingJob, Result

FORMAT = 1
MEMORY_BYTES = 2**28  # of results that are kept in memory after reading them
INVALID_FILE_ERRORS = (SafetensorError, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class PretrainedCache:
    """Networks trained on the real samples, cached on disk and trained only if missing.

    Args:
        folder: where results are kept; None keeps them in memory, for the caller alone.
        fingerprint: of the source; by default that of its samples.
        executor: any `concurrent.futures.Executor` to train with; None trains one after another in this process.
        report: called during training with (samples trained on, all of them), which count once for every epoch and
            job: several times a step, or after every job of an executor.
        ranks: processes that train a part each, if there are a folder to share and no executor.
    """

    folder: Path | None = None
    fingerprint: str | None = None
    executor: Executor | None = None
    report: Callable[[int, int], None] | None = None
    ranks: ProcessGroup = ALONE

    def get(self, kind: JobKind[Result], jobs: Sequence[PretrainingJob]) -> Sequence[Result]:
        """The results of these jobs, which differ in their seeds only; missing ones are trained now.

        Results on disk are read when they are indexed, so that thousands of them need no memory. If training diverges,
        FloatingPointError is raised.
        """
        key = self._key(kind, jobs[0])
        if self.folder is None or key is None:
            return [result for _, result in self.train(kind, jobs, range(len(jobs)))]
        results = _CachedResults(self, self.folder / key, kind, jobs)
        results.train_missing()
        return results

    def train(
        self, kind: JobKind[Result], jobs: Sequence[PretrainingJob], indices: Sequence[int]
    ) -> Iterator[tuple[int, Result]]:
        """Run the jobs with these indices, and yield each index with its result."""
        if not indices:
            return
        chosen, epochs = [jobs[index] for index in indices], require_resolved(jobs[0].pretraining.epochs)
        size, samples = kind.size(jobs[0]), kind.samples(jobs[0])
        if self.report is not None:
            kept = "" if size is None else f", {format_bytes(size * len(jobs))} to keep"
            print(f"{kind.name}: {len(indices)} of {len(jobs)} to train for {epochs} epochs each{kept}", flush=True)
        completed = 0

        def count(more: int) -> None:
            nonlocal completed
            completed += more
            if self.report is not None:
                self.report(completed, len(chosen) * samples)

        count(0)

        if self.executor is None:
            for number, (index, job) in enumerate(zip(indices, chosen, strict=True), 1):
                yield index, kind.train(job, count)
                count(number * samples - completed)  # what a network without an embedding leaves out
            return
        train = partial(call_with_own_settings, kind.train)
        for index, result in zip(indices, self.executor.map(train, chosen), strict=True):
            count(samples)
            yield index, result

    def _key(self, kind: JobKind[Any], job: PretrainingJob) -> str | None:
        """Identifies a series of jobs by their first; None if the network has no canonical form."""
        try:
            network, sgd = specs.to_json(networks.network(job.network)), specs.to_json(job.pretraining.sgd)
        except specs.UnnamedCallableError:
            return None
        real = job.real
        content = {
            "format": FORMAT,
            "kind": repr(kind),
            "fingerprint": self.fingerprint or real.fingerprint,
            "labels": content_hash({"labels": real.labels}),
            "sample": [real.kind.name, list(real.sample_shape), real.known],
            "network": network,
            "sgd": sgd,
            "epochs": job.pretraining.epochs,
            "seed": job.seed,
            "precision": job.precision,
            "device": torch.device(job.device).type,
        }
        if real.space.whitening is not None:
            content["whitening"] = "zca"
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class _CachedResults(Sequence[Result]):
    """The results of one key on disk, read when they are indexed.

    `in_memory` holds small ones, and those that could not be written.
    """

    def __init__(
        self, cache: PretrainedCache, folder: Path, kind: JobKind[Result], jobs: Sequence[PretrainingJob]
    ) -> None:
        self.cache, self.folder, self.kind, self.jobs = cache, folder, kind, jobs
        self.in_memory: dict[int, Result] = {}

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        if index not in self.in_memory:
            try:
                return self._read(index)
            except FileNotFoundError:
                pass
            except INVALID_FILE_ERRORS as error:
                warn_caller(f"The cached file {self._path(index)} is corrupt ({error}); training it again.")
            self._train_again(index)
        return self.in_memory[index] if index in self.in_memory else self._read(index)

    def train_missing(self) -> None:
        """Train what is missing: each rank a part first, then one process at a time whatever is left."""
        ranks = self.cache.ranks
        if ranks.is_distributed and self.cache.executor is None:
            self._train(ranks.broadcast(self._missing())[ranks.rank :: ranks.count])  # of those that rank 0 misses
        ranks.barrier()
        if self._missing():
            with self._locked():
                self._train(self._missing())

    def _train_again(self, index: int) -> None:
        """Replace a file that is gone or corrupt, unless another process has done so meanwhile."""
        with self._locked():
            try:
                self._read(index)
            except INVALID_FILE_ERRORS:
                self._train([index])

    def _missing(self) -> list[int]:
        return [i for i in range(len(self)) if i not in self.in_memory and not self._path(i).exists()]

    def _train(self, indices: Sequence[int]) -> None:
        for index, result in self.cache.train(self.kind, self.jobs, indices):
            tensors = self.kind.to_tensors(result)
            try:
                write_atomically(self._path(index), save(tensors, {"sha256": content_hash(tensors)}))
            except OSError as error:
                self._warn(error.__cause__ or error)
                self.in_memory[index] = result

    def _path(self, index: int) -> Path:
        return self.folder / f"{index}.safetensors"

    def _read(self, index: int) -> Result:
        """One result from its file, whose hash is checked."""
        path = self._path(index)
        if not path.exists():
            raise FileNotFoundError(path)
        with safe_open(path, "pt") as file:
            expected = (file.metadata() or {})["sha256"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        if content_hash(tensors) != expected:
            raise ValueError("its checksum does not match")
        result = self.kind.from_file(path, tensors)
        if path.stat().st_size * (len(self.in_memory) + 1) <= MEMORY_BYTES:
            self.in_memory[index] = result
        return result

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Take the lock of the folder; without one if the folder cannot be written, as results stay in memory then."""
        lock = FileLock(self.folder / "lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                print(f"Another process is training the same networks; waiting for it ({self.folder}).", flush=True)
                lock.acquire()
        except OSError as error:
            self._warn(error)
        try:
            yield
        finally:
            lock.release()

    def _warn(self, error: BaseException) -> None:
        warn_caller(
            f"Cannot write trained networks to {self.folder} ({error}); keeping them in memory. Free disk space or "
            "set CONDENSED_DATA_CACHE to another folder."
        )
