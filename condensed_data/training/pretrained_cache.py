"""Networks trained on the real samples, kept on disk and shared by everything that needs one.

    <folder>/<key>/lock               held while somebody trains
    <folder>/<key>/<i>.safetensors    network number i: weights, class centers, how often each sample was forgotten

The key is the sha256 of everything that decides the bits: the data's fingerprint and label map, the network, its
training, the seed and the precision. A file appears by one rename and carries the sha256 of its tensors; one that
is damaged is said and made again. Pools (IID, DANCE), coreset features and clusters of one run, and other runs of
the same seed, find each other's networks here.

Letters: n real samples, K classes, D features.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from condensed_data import networks
from condensed_data.core import spec as specs
from condensed_data.core.process_group import ALONE, ProcessGroup
from condensed_data.core.spec import require_resolved
from condensed_data.data.fingerprint import raw
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining, PretrainingJob, TrainedNetwork, job_of, train

FORMAT = 1
_WEIGHT = "weight."
HELD_BYTES = 2**28  # of networks that are kept in memory after they were read


@dataclass(frozen=True)
class PretrainedCache:
    """The shared store of trained networks.

    Args:
        folder: where they are kept; None keeps them in memory for whoever asked.
        fingerprint: of the source; by default that of its samples.
        executor: any `concurrent.futures.Executor` trains them; None trains one after another in this process.
        report: called with (epochs done, epochs in all) as training goes on: after every epoch, or after every
            network of an executor.
        ranks: processes that train a part each where there is a folder to share them and no executor.
    """

    folder: Path | None = None
    fingerprint: str | None = None
    executor: Executor | None = None
    report: Callable[[int, int], None] | None = None
    ranks: ProcessGroup = ALONE

    def own(self, missing: Sequence[int]) -> list[int]:
        """Which of rank 0's missing networks this process trains, before all look at the folder again."""
        if not self.ranks.is_distributed or self.executor is not None:
            return []
        agreed: list[int] = self.ranks.broadcast(list(missing))
        return agreed[self.ranks.rank :: self.ranks.count]

    def get(self, context: Context, network: Any, pretraining: Pretraining) -> Sequence[TrainedNetwork]:
        """`pretraining.networks` networks trained on the samples of `context`; missing ones are trained now.

        Raises:
            FloatingPointError: where training diverges.
        """
        jobs = [job_of(context, network, pretraining, index) for index in range(pretraining.networks)]
        key = self.key(context, network, pretraining)
        if key is None or self.folder is None:
            return [found for _, found in self._train(jobs)]
        hub_cache = _CachedNetworks(self.folder / key, jobs, self)
        hub_cache.fill_together()
        return hub_cache

    def _train(self, jobs: Sequence[PretrainingJob]) -> Iterator[tuple[int, TrainedNetwork]]:
        done, total = 0, sum(require_resolved(job.pretraining.epochs) for job in jobs)

        def count(epochs: int = 1) -> None:
            nonlocal done
            done += epochs
            if self.report is not None:
                self.report(done, total)

        if self.executor is None:
            yield from ((index, train(job, count)) for index, job in enumerate(jobs))
            return
        for index, result in enumerate(self.executor.map(train, jobs)):
            count(require_resolved(jobs[index].pretraining.epochs))
            yield index, result

    def key(self, context: Context, network: Any, pretraining: Pretraining) -> str | None:
        """Names the networks of one family; None where the network has no canonical form."""
        try:
            forms = [specs.to_json(networks.network(network)), specs.to_json(pretraining.sgd)]
        except specs.UnnamedCallableError:
            return None
        real = context.real
        content = {
            "format": FORMAT,
            "fingerprint": self.fingerprint or real.fingerprint,
            "labels": hashlib.sha256(raw(real.labels)).hexdigest(),
            "sample": [real.kind.name, list(real.sample_shape)],
            "network": forms[0],
            "sgd": forms[1],
            "epochs": pretraining.epochs,
            "seed": int(context.rng.seed),
            "precision": context.precision,
        }
        if real.space.whitening is not None:
            content["whitening"] = "zca"
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def trained_networks(context: Context, network: Any, pretraining: Pretraining) -> Sequence[TrainedNetwork]:
    """The networks of `context.network_store`, or networks trained in memory where it has none."""
    return (context.network_store or PretrainedCache()).get(context, network, pretraining)


class _CachedNetworks(Sequence[TrainedNetwork]):
    """The networks of one key on disk; read when they are asked for, so that thousands take no memory."""

    def __init__(self, folder: Path, jobs: Sequence[PretrainingJob], source: PretrainedCache) -> None:
        self.folder, self.jobs, self.source = folder, jobs, source
        self.kept: dict[int, TrainedNetwork] = {}  # small ones, and those that the disk does not take

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if index in self.kept:
            return self.kept[index]
        found = self._read(index)
        if found is None:  # removed or damaged since it was written
            self.fill()
            found = self.kept.get(index) or self._read(index)
        return found

    def fill_together(self) -> None:
        """Train what is missing, a part on each rank."""
        own = self.source.own(self._missing())
        if own:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._fill(own)
        self.source.ranks.barrier()
        self.fill()

    def fill(self) -> None:
        """Train what is missing, once among all processes."""
        if not self._missing():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with held(FileLock(self.folder / "lock"), self.folder):
                for partial in self.folder.glob(".*"):
                    partial.unlink()  # of a process that was killed while it wrote
                self._fill(self._missing())
        except OSError as error:
            _warn(self.folder, error)
            self._fill(self._missing())

    def _missing(self) -> list[int]:
        return [i for i in range(len(self)) if i not in self.kept and not self._path(i).exists()]

    def _fill(self, missing: Sequence[int]) -> None:
        for index, network in self.source._train([self.jobs[i] for i in missing]):
            try:
                _write(self._path(missing[index]), network)
            except OSError as error:
                _warn(self.folder, error)
                self.kept[missing[index]] = network

    def _path(self, index: int) -> Path:
        return self.folder / f"{index}.safetensors"

    def _read(self, index: int) -> TrainedNetwork | None:
        path = self._path(index)
        try:
            found = _read(path)
            if path.stat().st_size * (len(self.kept) + 1) <= HELD_BYTES:
                self.kept[index] = found
            return found
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            warnings.warn(
                f"The trained network {path} is damaged ({error}) and is trained again.", stacklevel=2
            )
            path.unlink(missing_ok=True)
            return None


@contextmanager
def held(lock: FileLock, folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of trained networks; whoever waits for another process is told so."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process is training these networks; waiting for it ({folder}).", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _warn(folder: Path, error: OSError) -> None:
    warnings.warn(
        f"Trained networks cannot be kept in {folder} ({error}), so they stay in memory. Free space, or set "
        "CONDENSED_DATA_CACHE to another folder.",
        stacklevel=3,
    )


def _write(path: Path, network: TrainedNetwork) -> None:
    tensors = {_WEIGHT + name: tensor.contiguous().clone() for name, tensor in network.weights.items()}
    tensors["forgotten"] = network.forgotten
    if network.centers is not None:
        tensors["centers"] = network.centers
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            file.write(save(tensors, {"sha256": _digest(tensors)}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> TrainedNetwork:
    if not path.exists():
        raise FileNotFoundError(path)
    with safe_open(path, "pt") as file:
        stated = (file.metadata() or {})["sha256"]
        # Clones, because the tensors are views of the file, which a damaged disk or a user may cut short.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    if _digest(tensors) != stated:
        raise ValueError("its checksum does not fit")
    weights = {name.removeprefix(_WEIGHT): tensors[name] for name in tensors if name.startswith(_WEIGHT)}
    return TrainedNetwork(weights, tensors.get("centers"), tensors["forgotten"])


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)};".encode())
        digest.update(raw(tensors[name]))
    return digest.hexdigest()
