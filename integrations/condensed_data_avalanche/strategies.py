"""Ready-made Avalanche strategies with a condensed memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avalanche.core import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch.nn import Module
from torch.optim import Optimizer

from condensed_data_avalanche.buffer import CondensedBuffer
from condensed_data_avalanche.plugins import CondensedGDumbPlugin, CondensedReplayPlugin


class CondensedReplay(SupervisedTemplate):  # type: ignore[misc]
    """Replay of condensed samples together with current data; see `CondensedReplayPlugin`.

    Args:
        model, optimizer, criterion: as in Avalanche's Replay.
        mem_size: size of the memory.
        batch_size_mem: samples of the memory in a batch, at most its size.
        storage_policy: the memory; by default `CondensedBuffer(mem_size)`.
        plugins: additional plugins.
        base_kwargs: `train_mb_size`, `train_epochs`, `eval_mb_size`, `device`, `evaluator`, `eval_every` and other
            arguments of SupervisedTemplate.
    """

    def __init__(
        self,
        *,
        model: Module,
        optimizer: Optimizer,
        criterion: Any,
        mem_size: int | None = None,
        batch_size_mem: int | None = None,
        storage_policy: CondensedBuffer | None = None,
        plugins: Sequence[SupervisedPlugin] | None = None,
        **base_kwargs: Any,
    ) -> None:
        replay = CondensedReplayPlugin(mem_size, batch_size_mem=batch_size_mem, storage_policy=storage_policy)
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=criterion,
            plugins=[*(plugins or ()), replay],
            **base_kwargs,
        )


class CondensedGDumb(SupervisedTemplate):  # type: ignore[misc]
    """A new network after every experience, trained on condensed samples alone; see `CondensedGDumbPlugin`.

    Args:
        model, optimizer, criterion: as in Avalanche's GDumb.
        mem_size: size of the memory.
        storage_policy: the memory; by default `CondensedBuffer(mem_size)`.
        plugins: additional plugins.
        base_kwargs: see `CondensedReplay`.
    """

    def __init__(
        self,
        *,
        model: Module,
        optimizer: Optimizer,
        criterion: Any,
        mem_size: int | None = None,
        storage_policy: CondensedBuffer | None = None,
        plugins: Sequence[SupervisedPlugin] | None = None,
        **base_kwargs: Any,
    ) -> None:
        gdumb = CondensedGDumbPlugin(mem_size, storage_policy)
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=criterion,
            plugins=[*(plugins or ()), gdumb],
            **base_kwargs,
        )
