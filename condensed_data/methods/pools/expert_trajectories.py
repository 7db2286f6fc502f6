"""The weights of trained networks after every epoch, in half precision, on disk beside the other trained networks.

    <folder>/<key>/lock               held while somebody trains
    <folder>/<key>/<i>.safetensors    expert number i: for every parameter its values at the start and after each
                                      epoch, (E + 1, *shape)

The key names everything that decides the bits, as in `learning.trained`. A file appears by one rename and
carries the sha256 of its tensors. It is mapped, not read: an iteration takes two epochs of one expert.

Letters: E epochs, P parameters of a network.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from condensed_data import networks
from condensed_data.core.rng import RandomStreams
from condensed_data.core.sizes import readable
from condensed_data.core.spec import require_resolved
from condensed_data.data.fingerprint import raw
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache, held
from condensed_data.training.pretraining import Pretraining, PretrainingJob, job_of
from condensed_data.training.sgd import SGDTrainer, run_steps

# Training draws what layers draw (dropout) from torch's global state, which threads would share.
_ONE_AT_A_TIME = threading.Lock()
PRECISIONS = {"fp16": torch.float16, "fp32": torch.float32}
Weights = dict[str, Tensor]


def train_expert(
    job: PretrainingJob, precision: str = "fp16", on_epoch: Callable[[], None] = lambda: None
) -> Weights:
    """Train one network and keep its parameters at the start and after each epoch: {name: (E + 1, *shape)}.

    `on_epoch` is called after every epoch.

    Raises:
        FloatingPointError: if the loss ends as NaN or infinite, or weights outgrow the precision.
    """
    with _ONE_AT_A_TIME:
        seen = _weights_by_epoch(job, on_epoch)
    kept = {name: torch.stack(weights).to(PRECISIONS[precision]) for name, weights in seen.items()}
    if not all(bool(torch.isfinite(weights).all()) for weights in kept.values()):
        raise FloatingPointError(
            f"Training an expert diverged: its weights are not finite in {precision}. Lower "
            f"SGDConfig(lr={job.pretraining.sgd.lr})."
        )
    return kept


def _weights_by_epoch(job: PretrainingJob, on_epoch: Callable[[], None]) -> dict[str, list[Tensor]]:
    real, asked, device = job.real, job.pretraining, torch.device(job.device)
    build, rng = networks.network(job.network), RandomStreams(job.seed)
    module = networks.build(build, real.num_classes, real.sample_shape, rng.seed_for("network")).to(device)
    descender = SGDTrainer(
        module.requires_grad_(False), asked.sgd, real.num_classes, real.sample_shape, job.precision
    )
    seen = {name: [weight.detach().cpu().clone()] for name, weight in module.named_parameters()}
    for epoch in range(require_resolved(asked.epochs)):
        draws = RandomStreams(rng.seed_for("epoch", epoch))
        index = asked.sgd.batches(len(real), draws.torch("shuffle"))
        run_steps(descender, (real.batch(rows, device) for rows in index), draws)
        for name, weight in module.named_parameters():
            seen[name].append(weight.detach().cpu().clone())
        on_epoch()
    return seen


@dataclass(frozen=True)
class _Train:
    """`train_expert` for the processes of an executor."""

    precision: str

    def __call__(self, job: PretrainingJob) -> Weights:
        return train_expert(job, self.precision)


class Trajectories:
    """The trajectories of `pretraining.networks` experts; missing ones are trained now.

    Args:
        context: its `trained` says where they are kept and what trains them; without one they stay in memory.
        network: a name or a callable (num_classes, sample_shape) -> Module.
        pretraining: resolved.
        precision: "fp16" or "fp32", in which they are kept.
    """

    def __init__(self, context: Context, network: Any, pretraining: Pretraining, precision: str) -> None:
        store = context.network_store or PretrainedCache()
        assert isinstance(store, PretrainedCache)
        self.precision, self.store = precision, store
        self.jobs = [job_of(context, network, pretraining, index) for index in range(pretraining.networks)]
        self.kept: dict[int, Weights] = {}
        key = self.store.key(context, network, pretraining)
        self.folder: Path | None = None
        if self.store.folder is not None and key is not None:
            self.folder = self.store.folder / hashlib.sha256(f"{key} {precision}".encode()).hexdigest()
        self._fill()

    def __len__(self) -> int:
        return len(self.jobs)

    def at(self, index: int, epoch: int) -> Weights:
        """Parameters of one expert after `epoch` epochs, {name: (*shape)} float32 on the CPU."""
        if index in self.kept:
            return {name: weights[epoch].float() for name, weights in self.kept[index].items()}
        with safe_open(self._path(index), "pt") as file:
            names = list(file.keys())
            return {name: torch.as_tensor(file.get_slice(name)[epoch]).float() for name in names}

    def _path(self, index: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{index}.safetensors"

    def _fill(self) -> None:
        if self.folder is None:
            for index, weights in self._train(list(range(len(self)))):
                self.kept[index] = weights
            return
        self._train_own()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with held(FileLock(self.folder / "lock"), self.folder):
                for partial in self.folder.glob(".*"):
                    partial.unlink()  # of a process that was killed while it wrote
                self._fill_folder()
        except OSError as error:
            self._warn(error)
            self._fill_folder()

    def _train_own(self) -> None:
        """On several ranks: a part on each, before all look at the folder."""
        assert self.folder is not None
        own = self.store.own([index for index in range(len(self)) if not self._whole(index)])
        if own:
            self.folder.mkdir(parents=True, exist_ok=True)
        for index, weights in self._train(own):
            self._write(index, weights)
        self.store.ranks.barrier()

    def _fill_folder(self) -> None:
        for index, weights in self._train([i for i in range(len(self)) if not self._whole(i)]):
            self._write(index, weights)

    def _warn(self, error: OSError) -> None:
        warnings.warn(
            f"Experts cannot be kept in {self.folder} ({error}), so they stay in memory. Free space, or set "
            "CONDENSED_DATA_CACHE to another folder.",
            stacklevel=2,
        )

    def _train(self, missing: list[int]) -> Iterator[tuple[int, Weights]]:
        if not missing:
            return
        epochs = require_resolved(self.jobs[0].pretraining.epochs)
        if self.store.report is not None:
            print(
                f"experts: {len(missing)} of {len(self)} to train for {epochs} epochs each, "
                f"{readable(self._size() * len(self))} to keep",
                flush=True,
            )
        done, jobs = 0, [self.jobs[index] for index in missing]

        def count(more: int = 1) -> None:
            nonlocal done
            done += more
            if self.store.report is not None:
                self.store.report(done, len(jobs) * epochs)

        if self.store.executor is None:
            for index, job in zip(missing, jobs, strict=True):
                yield index, train_expert(job, self.precision, count)
            return
        results = self.store.executor.map(_Train(self.precision), jobs)
        for index, weights in zip(missing, results, strict=True):
            count(epochs)
            yield index, weights

    def _size(self) -> int:
        """Bytes of one trajectory."""
        job = self.jobs[0]
        module = networks.build(networks.network(job.network), job.real.num_classes, job.real.sample_shape, 0)
        values = sum(math.prod(weight.shape) for weight in module.parameters())
        return values * (require_resolved(job.pretraining.epochs) + 1) * PRECISIONS[self.precision].itemsize

    def _whole(self, index: int) -> bool:
        """Whether the file is there and undamaged."""
        path = self._path(index)
        if index in self.kept:
            return True
        if not path.exists():
            return False
        try:
            with safe_open(path, "pt") as file:
                stated = (file.metadata() or {})["sha256"]
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                fits = _digest(tensors) == stated
        except (SafetensorError, OSError, KeyError):
            fits = False
        if not fits:
            warnings.warn(f"The expert {path} is damaged and is trained again.", stacklevel=2)
        return fits

    def _write(self, index: int, weights: Weights) -> None:
        path = self._path(index)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(partial, "wb") as file:
                file.write(save(weights, {"sha256": _digest(weights)}))
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            self._warn(error)
            self.kept[index] = weights
        finally:
            if partial.exists():
                partial.unlink()


def _digest(tensors: Weights) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)};".encode())
        digest.update(raw(tensors[name]))
    return digest.hexdigest()
