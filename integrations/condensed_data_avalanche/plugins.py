"""Avalanche plugins for condensed memories: GDumb, replay, and reduced inputs for the network."""

from __future__ import annotations

from typing import Any

from avalanche.core import SupervisedPlugin
from avalanche.training.plugins.gdumb import GDumbPlugin
from avalanche.training.plugins.replay import ReplayPlugin
from avalanche.training.storage_policy import ExemplarsBuffer
from torch import Tensor

from condensed_data.core.annotations import Count, checked
from condensed_data.core.torch_settings import doors
from condensed_data.core.validation import check_count
from condensed_data.methods.synthetic.low_resolution import downsample
from condensed_data.methods.synthetic.multi_formation import check_cells, upsample
from condensed_data_avalanche.buffer import CondensedBuffer


class CondensedGDumbPlugin(GDumbPlugin, supports_distributed=True):  # type: ignore[misc, call-arg]
    """GDumb with a memory of your choice: after every experience, a new network is trained on the memory alone.

    Prabhu, Torr and Dokania, GDumb, ECCV 2020.

    Args:
        mem_size: size of the memory; None for that of `storage_policy`.
        storage_policy: the memory; by default `CondensedBuffer(mem_size)`.

    Raises:
        ValueError: if `mem_size` and the size of `storage_policy` differ.
    """

    @checked
    def __init__(self, mem_size: Count | None = None, storage_policy: ExemplarsBuffer | None = None) -> None:
        memory = _memory(mem_size, storage_policy)
        super().__init__(memory.max_size)
        self.storage_policy = memory


class CondensedReplayPlugin(ReplayPlugin, supports_distributed=True):  # type: ignore[misc, call-arg]
    """Replay with samples of the memory in every batch, however small the memory is.

    With `drop_last`, Avalanche's ReplayPlugin drops a memory that is smaller than its batch; here the batch of the
    memory is never larger than the memory.

    Args:
        mem_size, storage_policy: see `CondensedGDumbPlugin`.
        batch_size: samples of current data in a batch; by default the strategy's batch size.
        batch_size_mem: samples of the memory in a batch, at most its size; by default the strategy's batch size.
        task_balanced_dataloader: draw equally many samples of every task.
    """

    batch_size_mem: Count | None

    @checked
    def __init__(
        self,
        mem_size: Count | None = None,
        batch_size: Count | None = None,
        batch_size_mem: Count | None = None,
        task_balanced_dataloader: bool = False,
        storage_policy: ExemplarsBuffer | None = None,
    ) -> None:
        memory = _memory(mem_size, storage_policy)
        super().__init__(memory.max_size, batch_size, batch_size_mem, task_balanced_dataloader, memory)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Set up the loader that mixes current data and memory."""
        wanted = self.batch_size_mem
        self.batch_size_mem = min(wanted or strategy.train_mb_size, len(self.storage_policy.buffer))
        super().before_training_exp(strategy, **kwargs)
        self.batch_size_mem = wanted


@doors
class ReducedInputs(SupervisedPlugin, supports_distributed=True):  # type: ignore[misc, call-arg]
    """Gives the network current and tested samples at the resolution of a memory that stores 1/factor of the sides.

    Otherwise the network tells current and stored samples apart by their sharpness, and learns the old classes only
    for blurred samples. For strategies that draw from the memory after `before_forward`: `DER`, `ER_ACE`. Samples of
    the memory must not be reduced again: use `train=False` with a strategy that trains on the memory alone
    (`CondensedGDumbPlugin`). `ReplayPlugin`, which mixes both in its loader, is not supported.

    Args:
        factor: that of the memory, at least 2.
        train: whether current samples are reduced; tested samples always are.

    Raises:
        ValueError: for a factor below 2; when training with `train=True` and a plugin whose batches hold samples of
            the memory; for samples that cannot be reduced by this factor.
    """

    @checked
    def __init__(self, factor: Count, train: bool = True) -> None:
        super().__init__()
        check_count("ReducedInputs", "factor", factor, least=2)
        self.factor, self.train = factor, train

    def reduce_resolution(self, samples: Tensor) -> Tensor:
        """Average samples (B, *sample) over areas, and enlarge them again to their shape."""
        shape = tuple(samples.shape[1:])
        check_cells(self.factor, shape, "ReducedInputs")
        return upsample(downsample(samples, self.factor), shape[1:])

    def before_training(self, strategy: Any, **kwargs: Any) -> None:
        """Reject plugins whose batches already hold samples of the memory."""
        mixing = [plugin for plugin in strategy.plugins if isinstance(plugin, ReplayPlugin | GDumbPlugin)]
        if self.train and mixing:
            raise ValueError(
                f"Cannot use ReducedInputs with {type(mixing[0]).__name__}: its batches hold samples of the memory, "
                "which are reduced already. Use DER or ER_ACE, or train=False if the strategy trains on the memory "
                "alone."
            )

    def before_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Reduce current samples."""
        if self.train:
            strategy.mbatch[0] = self.reduce_resolution(strategy.mbatch[0])

    def before_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Reduce tested samples."""
        strategy.mbatch[0] = self.reduce_resolution(strategy.mbatch[0])


def _memory(mem_size: Count | None, given: ExemplarsBuffer | None) -> Any:
    if given is None:
        return CondensedBuffer(200 if mem_size is None else mem_size)
    if mem_size is not None and given.max_size != mem_size:
        raise ValueError(f"mem_size={mem_size} and storage_policy.max_size={given.max_size} differ. Omit mem_size=.")
    return given
