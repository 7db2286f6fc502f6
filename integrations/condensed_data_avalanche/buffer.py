"""CondensedBuffer: an Avalanche storage policy that keeps condensed samples instead of references to real ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.training.storage_policy import BalancedExemplarsBuffer

from condensed_data.core.annotations import Natural, check_values, checked, parameter_annotations
from condensed_data.core.device import PRECISIONS, choose_device
from condensed_data.core.torch_settings import doors
from condensed_data.core.validation import check_choice
from condensed_data.methods.recipe import Recipe
from condensed_data_avalanche import serialization
from condensed_data_avalanche.arguments import check_classes, check_options, check_samples, check_sizes, max_samples
from condensed_data_avalanche.class_buffer import ClassBuffer
from condensed_data_avalanche.experience import BenchmarkFormat, read_experience
from condensed_data_avalanche.memory import Memory, Settings
from condensed_data_avalanche.memory_recipe import memory_recipe
from condensed_data_avalanche.replay_dataset import Transform, as_avalanche_dataset
from condensed_data_avalanche.storage import Key, StorageLayout
from condensed_data_avalanche.strategy_access import (
    check_class_sizes,
    device_of,
    ends_task,
    log_metrics,
    model_logits,
    starts_task,
)

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset

# arguments that are stored as they are
_PLAIN = (
    *("max_size", "adaptive_size", "total_num_classes", "factor", "condense_on", "real_fraction"),
    *("logits", "reduced_inputs", "precision", "max_bytes"),
)


@doors
class CondensedBuffer(BalancedExemplarsBuffer[ClassBuffer]):  # type: ignore[misc]
    """A memory of condensed samples, divided equally over classes, and within a class over tasks.

    It keeps its own tensors and no reference to a source. Every update condenses new samples together with those kept
    of the same class; classes whose size shrinks merge their samples by k-means. The model and global random states
    stay unchanged.

    In batches mixed with current data (`ReplayPlugin`), a network can distinguish condensed from real samples, and
    uses this as a shortcut. Condensed samples work best if the network is trained on them alone
    (`CondensedGDumbPlugin`), if they have their own loss (`ER_ACE`), or if the network gets all samples at their
    resolution (`ReducedInputs`).

    Args:
        max_size: number of samples in the buffer.
        adaptive_size: divide `max_size` by the number of classes seen so far; else by `total_num_classes`.
        total_num_classes: required with `adaptive_size=False`.
        recipe: None for `fast()`; a name such as "dm", whose iterations are reduced to those of `fast`; or a Recipe.
        factor: store samples at 1/factor of their sides, so that factor ** 2 times as many fit into the same bytes.
        storage_dtype: torch.uint8 (one affine map per channel, class and task), float16, bfloat16 or float32.
        buffer_transform: applied to a sample (*shape) in training, not in evaluation.
        condense_on: "experience"; "task_boundary" for online streams with access to boundaries (call `condense` after
            the last task); or a number of staged samples. Staged samples count in `memory_bytes` and fill the buffer
            until they are condensed.
        real_fraction: fraction of real samples, drawn uniformly from all seen so far, in [0, 1].
        logits: keep the strategy's logits of every sample, the field that Avalanche's `DER` reads.
        device: where to condense; by default the strategy's device.
        reduced_inputs: condense for a network that gets all samples at 1/factor of their sides (`ReducedInputs`),
            instead of one that also gets them at full size; `fast()` then takes 1,000 iterations.
        precision: "auto", "fp32" or "bf16".
        seed: non-negative; determines all random draws.
        max_bytes: keep fewer samples than `max_size` if they would take more bytes; see `from_bytes`.

    Raises:
        ValueError, TypeError: for an invalid argument.
    """

    @checked
    def __init__(
        self,
        max_size: int,
        adaptive_size: bool = True,
        total_num_classes: int | None = None,
        *,
        recipe: str | Recipe | None = None,
        factor: int = 1,
        storage_dtype: torch.dtype = torch.uint8,
        buffer_transform: Transform | None = None,
        condense_on: str | int = "experience",
        real_fraction: float = 0.0,
        logits: bool = False,
        device: str | torch.device | None = None,
        reduced_inputs: bool = False,
        precision: str = "auto",
        seed: Natural = 0,
        max_bytes: int | None = None,
    ) -> None:
        check_sizes(max_size, adaptive_size, total_num_classes)
        check_options(factor, storage_dtype, buffer_transform, condense_on, real_fraction, seed, max_bytes)
        super().__init__(max_size, adaptive_size, total_num_classes)
        self.total_num_classes, self.max_bytes = total_num_classes, max_bytes
        self.factor, self.storage_dtype = factor, storage_dtype
        self.buffer_transform, self.condense_on = buffer_transform, condense_on
        self.real_fraction, self.logits = real_fraction, bool(logits)
        self.device, self.precision = None if device is None else choose_device(device), precision
        check_choice("CondensedBuffer", "precision", precision, PRECISIONS)
        self.reduced_inputs = bool(reduced_inputs)
        resolved = memory_recipe(recipe, factor, self.reduced_inputs)
        self.memory = Memory(Settings(resolved, factor, storage_dtype, real_fraction, precision, seed))
        self.benchmark_format: BenchmarkFormat | None = None
        self.sample_shape: tuple[int, ...] | None = None
        self.condensing_seconds = 0.0
        self._datasets: dict[int | None, AvalancheDataset[Any]] = {}

    @classmethod
    @checked
    def from_bytes(
        cls, memory_bytes: int, sample_shape: tuple[int, ...], *, total_num_classes: int | None = None, **arguments: Any
    ) -> CondensedBuffer:
        """Create the largest buffer whose values, labels and affine maps fit into a budget of `memory_bytes`.

        `max_size` is what fits with a single class; every further class and task costs a few bytes of samples.

        Args:
            sample_shape: (C, H, W), (C, L) or (D,).
            total_num_classes: divide the budget evenly from the start; None divides it by the classes seen so far.
            arguments: of `CondensedBuffer`. With a number for `condense_on`, staged samples count in the budget.

        Raises:
            ValueError: if no sample fits, or the budget cannot be guaranteed.
        """
        check_values("CondensedBuffer", arguments, parameter_annotations(cls.__init__))
        size = max_samples(memory_bytes, tuple(sample_shape), total_num_classes, arguments)
        fixed = total_num_classes is not None
        return cls(size, not fixed, total_num_classes, max_bytes=memory_bytes, **arguments)

    # the interface of Avalanche's storage policies

    def update(self, strategy: Any, **kwargs: Any) -> None:
        """Take in the strategy's current experience; any object with an `experience` works."""
        self._add_experience(strategy.experience, strategy, int(kwargs.get("num_workers", 0)))
        check_class_sizes(strategy, self.samples_per_class)

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        """Take in an experience."""
        self._add_experience(exp, agent_state, 0)

    def update_from_dataset(self, new_data: Any, strategy: Any = None) -> None:
        """Take in a dataset, which is condensed at once unless `condense_on` is a number of samples."""
        self._add_data(new_data, strategy, 0, ends=True)

    def resize(self, strategy: Any, new_size: int) -> None:
        """Change `max_size`; samples that no longer fit are merged."""
        check_sizes(new_size, self.adaptive_size, self.total_num_classes)
        self.max_size = new_size
        self._changed(self.memory.shrink(self._limits()), None)

    @property
    def buffer(self) -> AvalancheDataset[Any]:
        """All samples in the format of the latest data; the same object until the memory changes."""
        if None not in self._datasets:
            self._datasets[None] = concat_datasets(self.buffer_datasets)
        return self._datasets[None]

    @buffer.setter
    def buffer(self, new_buffer: Any) -> None:
        raise AttributeError("Cannot assign to CondensedBuffer.buffer. Call update_from_dataset(dataset) instead.")

    def get_group_lengths(self, num_groups: int) -> list[int]:
        """Samples of each class; the first classes get the remainder."""
        groups = num_groups if self.adaptive_size else self.total_num_classes
        if not groups:
            return []
        each, remainder = divmod(self._max_samples(), groups)
        return [each + (index < remainder) for index in range(num_groups)]

    # beyond that interface

    def condense(self, strategy: Any = None) -> None:
        """Condense staged samples now, regardless of `condense_on`."""
        if not self.memory.num_staged:
            return
        started = time.perf_counter()
        changed = self.memory.condense(self._limits(), device_of(strategy, self.device))
        self.condensing_seconds = time.perf_counter() - started
        self._changed(changed, strategy)
        log_metrics(strategy, self.condensing_seconds, self.memory_bytes, self.samples_per_class)

    @property
    def seen_classes(self) -> set[int]:
        """Classes seen so far."""
        return {label for label, _ in self.memory.cells}

    @property
    def samples_per_class(self) -> dict[int, int]:
        """Number of samples of each class in the buffer."""
        return {label: len(group.buffer) for label, group in self.buffer_groups.items()}

    @property
    def memory_bytes(self) -> int:
        """Bytes of everything kept: values, logits, labels, affine maps and staged samples."""
        return self.memory.nbytes

    @checked
    def class_dataset(self, label: int) -> AvalancheDataset[Any]:
        """The samples of one class; the same object until the memory changes."""
        if label not in self._datasets:
            assert self.benchmark_format is not None
            assert self.sample_shape is not None
            parts, tasks, logits = self.memory.class_samples(label, self.logits)
            samples = torch.cat([torch.empty(0, *self.sample_shape), *parts])
            labels, rows = [label] * len(samples), torch.cat(logits) if logits else None
            self._datasets[label] = as_avalanche_dataset(
                samples, labels, tasks, self.benchmark_format, self.buffer_transform, rows
            )
        return self._datasets[label]

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for `load_state_dict` of a buffer with the same arguments."""
        return {
            **serialization.memory_state(self.memory),
            "max_size": self.max_size,
            "benchmark_format": None if self.benchmark_format is None else asdict(self.benchmark_format),
            "sample_shape": None if self.sample_shape is None else list(self.sample_shape),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, without the raw data.

        Raises:
            ValueError: for the state of a buffer that stores its samples differently.
        """
        serialization.load_memory_state(self.memory, state)
        self.max_size = state["max_size"]
        known, shape = state["benchmark_format"], state["sample_shape"]
        self.benchmark_format = None if known is None else BenchmarkFormat(**known)
        self.sample_shape = None if shape is None else tuple(shape)
        self._refresh()

    @checked
    def save(self, path: str | Path) -> None:
        """Write arguments, recipe and state to a file."""
        arguments = {name: getattr(self, name) for name in _PLAIN}
        arguments["device"] = None if self.device is None else str(self.device)
        serialization.save(path, arguments, self.memory.settings, self.state_dict())

    @classmethod
    @checked
    def load(cls, path: str | Path, **arguments: Any) -> CondensedBuffer:
        """Read a buffer that `save` wrote; nothing in the file is executed.

        `arguments` override stored ones; `buffer_transform`, and a recipe with an unnamed callable, are not stored.

        Raises:
            ValueError: if the file holds no buffer, or its recipe was not stored and is not given.
        """
        merged, state = serialization.load(path, arguments)
        loaded = cls(**merged)
        loaded.load_state_dict(state)
        return loaded

    def to_condensed_dataset(self) -> CondensedDataset:
        """The samples as a CondensedDataset, for viewing, evaluating, saving and publishing."""
        from condensed_data_avalanche.export import to_condensed_dataset

        return to_condensed_dataset(self.memory)

    def _add_experience(self, exp: Any, strategy: Any, num_workers: int) -> None:
        ends = ends_task(exp, self.condense_on)
        if starts_task(exp, self.condense_on):
            self.condense(strategy)
        self._add_data(exp.dataset, strategy, num_workers, ends)

    def _add_data(self, dataset: Any, strategy: Any, num_workers: int, ends: bool) -> None:
        if not len(dataset):
            return
        data = read_experience(dataset, num_workers)
        shape = tuple(data.samples.shape[1:])
        check_samples(shape, self.sample_shape, self.factor)
        cells = list(data.cells())
        check_classes(self.seen_classes | {label for (label, _), _ in cells}, self.total_num_classes)
        self.benchmark_format, self.sample_shape = data.format, shape
        at_once = not isinstance(self.condense_on, int) and ends
        for key, samples in cells:
            self.memory.stage(key, samples, exact=at_once)
        if at_once or (isinstance(self.condense_on, int) and self.memory.num_staged >= self.condense_on):
            self.condense(strategy)
        else:
            self._changed(self.memory.shrink(self._limits()), strategy)

    def _max_samples(self) -> int:
        """`max_size`, or fewer if these take more than `max_bytes`."""
        if self.max_bytes is None or self.sample_shape is None:
            return self.max_size
        staged = self.condense_on if isinstance(self.condense_on, int) else 0
        layout = StorageLayout(self.sample_shape, self.factor, self.storage_dtype, staged)
        return max(0, min(self.max_size, layout.samples_within(self.max_bytes, len(self.memory.cells))))

    def _limits(self) -> dict[Key, int]:
        return self.memory.limits(self.get_group_lengths(len(self.seen_classes)))

    def _changed(self, keys: list[Key], strategy: Any) -> None:
        """Add the logits of new samples, and give up the datasets of the old ones."""
        for key in keys if self.logits else ():
            cell = self.memory.cells[key]
            if cell.kept is not None and cell.kept.logits is None:
                logits = model_logits(strategy, cell.kept.decode(), task=key[1])
                cell.kept = replace(cell.kept, logits=logits)
        self._refresh()

    def _refresh(self) -> None:
        self._datasets = {}
        labels = dict.fromkeys(label for label, _ in self.memory.cells)
        lengths = self.get_group_lengths(len(labels))
        pairs = zip(labels, lengths, strict=True)
        self.buffer_groups = {label: ClassBuffer(self.class_dataset, label, length) for label, length in pairs}

    def __getstate__(self) -> dict[str, Any]:
        # datasets hold decoded samples, which are decoded again on demand
        return self.__dict__ | {"_datasets": {}}
