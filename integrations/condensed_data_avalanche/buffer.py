"""CondensedBuffer: the place of ClassBalancedBuffer, holding learned samples instead of references to real ones.

Letters: n samples, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.training.storage_policy import BalancedExemplarsBuffer

from condensed_data.methods.recipe import Recipe
from condensed_data_avalanche import arguments as options
from condensed_data_avalanche import serialization as saving
from condensed_data_avalanche.classes import CondensedClass
from condensed_data_avalanche.condenser import chosen
from condensed_data_avalanche.experience import BenchmarkFormat, read
from condensed_data_avalanche.memory import Key, Memory, Settings
from condensed_data_avalanche.quantized import QuantizedSamples
from condensed_data_avalanche.replay_dataset import Transform, as_avalanche_dataset
from condensed_data_avalanche.strategy_access import (
    at_boundary,
    check_shares,
    device_of,
    log_metrics,
    logits_of,
    starts_task,
)

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset


class CondensedBuffer(BalancedExemplarsBuffer["CondensedClass"]):  # type: ignore[misc]
    """A memory of condensed samples, equally divided over classes; of tasks that share a class, evenly.

    It keeps tensors of its own and no reference to a source. Every update condenses what is new, together with
    what is kept of the same class; classes whose share shrinks merge their samples by k-means. Neither the model
    nor any global random state is touched.

    Mixed into batches of current data (`ReplayPlugin`), condensed samples can be told from real ones, which a
    network uses as a shortcut. They serve best where they are trained on alone (`CondensedGDumbPlugin`), under a
    loss of their own (`ER_ACE`), or where the network sees all samples at their resolution (`ReducedInputs`).

    Args:
        max_size: samples that the buffer yields.
        adaptive_size: divide `max_size` by the classes seen so far; else by `total_num_classes`.
        total_num_classes: with `adaptive_size=False`.
        recipe: None for `fast()`; a name such as "dm", whose iterations are cut to those of `fast`; or a Recipe.
        factor: keep samples at 1/factor of their sides, so that as many bytes hold factor ** 2 times as many images.
        storage_dtype: torch.uint8 (one affine map per channel, class and task), float16, bfloat16 or float32.
        buffer_transform: of a sample (*shape) while it is trained on; eval never transforms.
        condense_on: "experience"; "task_boundary" of an online stream that gives access to it (call `condense` after
            the last task); or a number of staged samples. Staged samples count in `memory_bytes` and fill the buffer
            until they are condensed.
        real_fraction: share of real samples, drawn uniformly from all that were seen, in [0, 1].
        logits: keep the strategy's logits of every sample, the field that Avalanche's `DER` reads.
        reduced_inputs: condense for a network that sees all samples at 1/factor of their sides (`ReducedInputs`),
            instead of one that also sees them at full size; `fast()` then takes 1,000 iterations.
        device: where to condense; by default the strategy's.
        precision: "auto", "fp32" or "bf16".
        seed: of all draws, non-negative.
        max_bytes: keep fewer samples than `max_size` where they would take more bytes; see `from_bytes`.

    Raises:
        ValueError, TypeError: for an argument out of its range.
    """

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
        seed: int = 0,
        max_bytes: int | None = None,
    ) -> None:
        options.check_division(max_size, adaptive_size, total_num_classes)
        options.check(factor, storage_dtype, buffer_transform, condense_on, real_fraction, seed, max_bytes)
        super().__init__(max_size, adaptive_size, total_num_classes)
        self.total_num_classes = total_num_classes
        self.factor, self.storage_dtype, self.logits = factor, storage_dtype, bool(logits)
        self.buffer_transform, self.condense_on = buffer_transform, condense_on
        self.real_fraction, self.max_bytes = real_fraction, max_bytes
        self.device, self.precision = None if device is None else torch.device(device), precision
        self.reduced_inputs = bool(reduced_inputs)
        learned = chosen(recipe, factor, self.reduced_inputs)
        self.memory = Memory(Settings(learned, factor, storage_dtype, real_fraction, precision, seed))
        self.form: BenchmarkFormat | None = None
        self.sample_shape: tuple[int, ...] | None = None
        self.condensing_seconds = 0.0
        self._datasets: dict[int | None, AvalancheDataset[Any]] = {}

    @classmethod
    def from_bytes(
        cls,
        memory_bytes: int,
        sample_shape: tuple[int, ...],
        *,
        total_num_classes: int | None = None,
        **arguments: Any,
    ) -> CondensedBuffer:
        """The most samples of this shape that fit so many bytes of values, labels and affine maps.

        `max_size` is what fits with a single class; every class and task more takes its few bytes from the samples.

        Args:
            memory_bytes: the budget.
            sample_shape: (C, H, W), (C, L) or (D,).
            total_num_classes: divides it evenly from the start; None divides it by the classes seen so far.
            arguments: of `CondensedBuffer`. With a number for `condense_on`, as many staged samples are part of the
                budget.

        Raises:
            ValueError: for a budget that holds no sample, or that cannot be kept.
        """
        size = options.capacity(memory_bytes, tuple(sample_shape), total_num_classes, arguments)
        fixed = total_num_classes is not None
        return cls(size, not fixed, total_num_classes, max_bytes=memory_bytes, **arguments)

    # what Avalanche calls

    def update(self, strategy: Any, **kwargs: Any) -> None:
        """Take in the strategy's experience. Any object with `experience` will do."""
        self._take(strategy.experience, strategy, int(kwargs.get("num_workers", 0)))
        check_shares(strategy, self.samples_per_class)

    def post_adapt(self, agent_state: Any, exp: Any) -> None:
        self._take(exp, agent_state, 0)

    def update_from_dataset(self, new_data: Any, strategy: Any = None) -> None:
        """Take in a dataset, which ends no online stream but whatever `condense_on` counts."""
        self._take_data(new_data, strategy, 0, boundary=True)

    def resize(self, strategy: Any, new_size: int) -> None:
        """Change `max_size`; what no longer fits is merged."""
        options.check_division(new_size, self.adaptive_size, self.total_num_classes)
        self.max_size = new_size
        self._changed(self.memory.shrink(self._limits()), None)

    @property
    def buffer(self) -> AvalancheDataset[Any]:
        """All samples, of the structure of the last data; the same object until the memory changes."""
        if None not in self._datasets:
            self._datasets[None] = concat_datasets(self.buffer_datasets)
        return self._datasets[None]

    @buffer.setter
    def buffer(self, new_buffer: Any) -> None:
        raise AttributeError(
            "A CondensedBuffer makes its samples: call update_from_dataset(dataset) instead."
        )

    def get_group_lengths(self, num_groups: int) -> list[int]:
        """Samples of each of so many classes; what does not divide goes to the first ones."""
        groups = num_groups if self.adaptive_size else self.total_num_classes
        if not groups:
            return []
        each, more = divmod(self._capacity(), groups)
        return [each + (index < more) for index in range(num_groups)]

    # what its user calls

    def condense(self, strategy: Any = None) -> None:
        """Condense what is staged now, whatever `condense_on` says."""
        if not self.memory.waiting:
            return
        started = time.perf_counter()
        changed = self.memory.condense(self._limits(), device_of(strategy, self.device))
        self.condensing_seconds = time.perf_counter() - started
        self._changed(changed, strategy)
        log_metrics(strategy, self.condensing_seconds, self.memory_bytes, self.samples_per_class)

    @property
    def seen_classes(self) -> set[int]:
        """Classes that came until now."""
        return {label for label, _ in self.memory.cells}

    @property
    def samples_per_class(self) -> dict[int, int]:
        """How many samples of each class the buffer yields."""
        return {label: len(group.buffer) for label, group in self.buffer_groups.items()}

    @property
    def memory_bytes(self) -> int:
        """Bytes of all that is kept: values, logits, labels, affine maps and staged samples."""
        return self.memory.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for `load_state_dict` of a buffer with the same arguments."""
        return saving.state_of(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, without the raw data.

        Raises:
            ValueError: for the state of a buffer that keeps its samples otherwise.
        """
        saving.load_state(self, state)

    def save(self, path: str | Path) -> None:
        """Write arguments, recipe and state to a file."""
        saving.save(self, path)

    @classmethod
    def load(cls, path: str | Path, **arguments: Any) -> CondensedBuffer:
        """Read what `save` wrote; nothing in the file is executed.

        Args:
            arguments: in the place of stored ones; `buffer_transform`, and a recipe with a callable, are not stored.
        """
        loaded = saving.load(cls, path, arguments)
        assert isinstance(loaded, cls)
        return loaded

    def to_condensed_dataset(self) -> CondensedDataset:
        """The samples as a CondensedDataset: to look at, evaluate, save and publish."""
        return saving.to_condensed_dataset(self)

    # inside

    def _take(self, exp: Any, agent: Any, num_workers: int) -> None:
        boundary = at_boundary(exp, self.condense_on)
        if starts_task(exp, self.condense_on):
            self.condense(agent)
        self._take_data(exp.dataset, agent, num_workers, boundary)

    def _take_data(self, dataset: Any, agent: Any, num_workers: int, boundary: bool) -> None:
        if not len(dataset):
            return
        arrived = read(dataset, num_workers)
        shape = tuple(arrived.samples.shape[1:])
        options.check_samples(shape, self.sample_shape, self.factor)
        cells = list(arrived.cells())
        options.check_classes(self.seen_classes | {label for (label, _), _ in cells}, self.total_num_classes)
        self.form, self.sample_shape = arrived.form, shape
        at_once = not isinstance(self.condense_on, int) and boundary
        for key, samples in cells:
            self.memory.stage(key, samples, exact=at_once)
        if at_once or (isinstance(self.condense_on, int) and self.memory.waiting >= self.condense_on):
            self.condense(agent)
        else:
            self._changed(self.memory.shrink(self._limits()), agent)

    def _capacity(self) -> int:
        """Samples that fit `max_bytes` beside the classes' own bytes."""
        if self.max_bytes is None or self.sample_shape is None:
            return self.max_size
        return options.fitting(self, len(self.memory.cells), self.sample_shape)

    def _limits(self) -> dict[Key, int]:
        """Every cell's share: that of its class, evenly over the class's tasks."""
        return self.memory.shares(self.get_group_lengths(len(self.seen_classes)))

    def _changed(self, keys: list[Key], agent: Any) -> None:
        if self.logits:
            for key in keys:
                cell = self.memory.cells[key]
                kept = cell.kept
                if kept is not None and kept.logits is None:
                    found = logits_of(agent, kept.decode(), key[1])
                    cell.kept = QuantizedSamples(
                        kept.codes, kept.offset, kept.step, kept.shape, kept.real, found
                    )
        self.refresh()

    def refresh(self) -> None:
        """Make groups anew for what the memory holds."""
        self._datasets = {}
        lengths = self.get_group_lengths(len(self.seen_classes))
        labels = dict.fromkeys(label for label, _ in self.memory.cells)
        pairs = zip(labels, lengths, strict=True)
        self.buffer_groups = {label: CondensedClass(self, label, length) for label, length in pairs}

    def dataset_of(self, label: int) -> AvalancheDataset[Any]:
        """The samples of one class."""
        if label not in self._datasets:
            self._datasets[label] = self._present(label)
        return self._datasets[label]

    def _present(self, label: int) -> AvalancheDataset[Any]:
        assert self.form is not None
        assert self.sample_shape is not None
        samples, tasks, logits = [torch.empty(0, *self.sample_shape)], [], []
        for (known, task), cell in self.memory.cells.items():
            if known == label:
                parts = cell.decode() if not self.logits else cell.decode()[: cell.kept is not None]
                samples += parts
                tasks += [task] * sum(map(len, parts))
                if cell.kept is not None and cell.kept.logits is not None:
                    logits.append(cell.kept.logits)
        rows = torch.cat(samples)
        given = torch.cat(logits) if logits else None
        return as_avalanche_dataset(rows, [label] * len(rows), tasks, self.form, self.buffer_transform, given)

    def __getstate__(self) -> dict[str, Any]:
        # decoded samples are made again
        return self.__dict__ | {"_datasets": {}}
