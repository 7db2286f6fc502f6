"""Hosts of a condensed memory: training on it alone, and beside current data; and what the network sees in both."""

from __future__ import annotations

from typing import Any

from avalanche.benchmarks.utils.data_loader import ReplayDataLoader
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins.gdumb import GDumbPlugin
from avalanche.training.plugins.replay import ReplayPlugin
from avalanche.training.storage_policy import ExemplarsBuffer
from torch import Tensor

from condensed_data.methods.synthetic.low_resolution import reduce
from condensed_data.methods.synthetic.multi_formation import check_cells, enlarge
from condensed_data_avalanche.buffer import CondensedBuffer


class CondensedGDumbPlugin(SupervisedPlugin, supports_distributed=True):  # type: ignore[misc, call-arg]
    """GDumb whose memory can be chosen: every experience, a new network is trained on the memory alone.

    Prabhu, Torr and Dokania, GDumb, ECCV 2020.

    Args:
        mem_size: samples of the memory; None for those of `storage_policy`.
        storage_policy: the memory; by default `CondensedBuffer(mem_size)`.

    Raises:
        ValueError: for two sizes that differ.
    """

    def __init__(self, mem_size: int | None = None, storage_policy: ExemplarsBuffer | None = None) -> None:
        super().__init__()
        self.storage_policy = _memory(mem_size, storage_policy)
        self.mem_size = self.storage_policy.max_size
        self._host = GDumbPlugin(self.mem_size)
        self._host.storage_policy = self.storage_policy

    def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Begin with a new network."""
        self._host.before_train_dataset_adaptation(strategy, **kwargs)

    def before_eval_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Let the network know the classes that are tested."""
        self._host.before_eval_dataset_adaptation(strategy, **kwargs)

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Take in the experience, and train on the memory instead of it."""
        self._host.after_train_dataset_adaptation(strategy, **kwargs)


class CondensedReplayPlugin(SupervisedPlugin, supports_distributed=True):  # type: ignore[misc, call-arg]
    """Replay whose memory is in every batch, however small it is.

    Avalanche's ReplayPlugin drops a memory that is smaller than its batch where the last batch is dropped; here the
    memory's batch is never larger than the memory.

    Args:
        mem_size: samples of the memory; None for those of `storage_policy`.
        batch_size: of current data; by default the strategy's.
        batch_size_mem: of the memory, at most its size; by default the strategy's.
        task_balanced_dataloader: draw as many samples of every task.
        storage_policy: the memory; by default `CondensedBuffer(mem_size)`.

    Raises:
        ValueError: for two sizes that differ.
    """

    def __init__(
        self,
        mem_size: int | None = None,
        batch_size: int | None = None,
        batch_size_mem: int | None = None,
        task_balanced_dataloader: bool = False,
        storage_policy: ExemplarsBuffer | None = None,
    ) -> None:
        super().__init__()
        self.storage_policy = _memory(mem_size, storage_policy)
        self.mem_size = self.storage_policy.max_size
        self.batch_size, self.batch_size_mem = batch_size, batch_size_mem
        self.task_balanced_dataloader = task_balanced_dataloader

    def before_training_exp(
        self,
        strategy: Any,
        num_workers: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        **kwargs: Any,
    ) -> None:
        """Draw batches from current data and memory."""
        memory = self.storage_policy.buffer
        if not len(memory):
            return
        passed = ("ffcv_args", "persistent_workers")
        strategy.dataloader = ReplayDataLoader(
            strategy.adapted_dataset,
            memory,
            oversample_small_tasks=True,
            batch_size=self.batch_size or strategy.train_mb_size,
            batch_size_mem=min(self.batch_size_mem or strategy.train_mb_size, len(memory)),
            task_balanced_dataloader=self.task_balanced_dataloader,
            num_workers=num_workers,
            shuffle=shuffle,
            drop_last=drop_last,
            **{name: kwargs[name] for name in passed if name in kwargs},
        )

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Take in the experience."""
        self.storage_policy.update(strategy, **kwargs)


class ReducedInputs(SupervisedPlugin, supports_distributed=True):  # type: ignore[misc, call-arg]
    """Shows the network current and tested samples as a memory shows those that it keeps at 1/factor of their sides.

    Otherwise a network that sees both tells them apart by their sharpness, and learns the old classes for blurred
    samples alone. For hosts that draw from the memory after `before_forward`: `DER`, `ER_ACE`. Samples of the memory
    must not be reduced again, so that a host that trains on the memory alone (`CondensedGDumbPlugin`) takes
    `train=False`, and `ReplayPlugin`, which mixes both in its loader, can't have it.

    Args:
        factor: of the memory, at least 2.
        train: whether current samples are reduced; tested ones always are.

    Raises:
        ValueError: for a factor below 2; in training, beside a plugin that mixes both in its loader; for samples that
            cannot be reduced so far.
    """

    def __init__(self, factor: int, train: bool = True) -> None:
        super().__init__()
        if isinstance(factor, bool) or not isinstance(factor, int) or factor < 2:
            raise ValueError(f"ReducedInputs(factor={factor!r}) must be an integer of at least 2.")
        self.factor, self.train = factor, train

    def see(self, samples: Tensor) -> Tensor:
        """Samples (B, *sample), averaged over areas and enlarged again."""
        shape = tuple(samples.shape[1:])
        check_cells(self.factor, shape, "ReducedInputs")
        return enlarge(reduce(samples, self.factor), shape[1:])

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Refuse a host whose batches hold samples of the memory already."""
        mixing = [plugin for plugin in strategy.plugins if isinstance(plugin, MIXING)]
        if self.train and mixing:
            raise ValueError(
                f"Cannot use ReducedInputs with {type(mixing[0]).__name__}: its batches hold samples of the memory, "
                "which are reduced already. Use DER or ER_ACE, or train=False with a host that trains on the memory "
                "alone."
            )

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Reduce current samples."""
        if self.train:
            strategy.mbatch[0] = self.see(strategy.mbatch[0])

    def before_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Reduce tested samples."""
        strategy.mbatch[0] = self.see(strategy.mbatch[0])


MIXING = (ReplayPlugin, CondensedReplayPlugin, GDumbPlugin, CondensedGDumbPlugin)


def _memory(mem_size: int | None, given: ExemplarsBuffer | None) -> Any:
    if given is None:
        return CondensedBuffer(200 if mem_size is None else mem_size)
    if mem_size is not None and given.max_size != mem_size:
        raise ValueError(
            f"mem_size={mem_size} and storage_policy.max_size={given.max_size} differ. Leave mem_size out."
        )
    return given
