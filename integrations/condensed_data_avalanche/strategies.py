"""Ready-made Avalanche strategies with a condensed memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avalanche.core import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate

from condensed_data.core.annotations import Count, checked
from condensed_data_avalanche.buffer import CondensedBuffer
from condensed_data_avalanche.plugins import CondensedGDumbPlugin, CondensedReplayPlugin


class CondensedReplay(SupervisedTemplate):  # type: ignore[misc]
    """Replay of condensed samples together with current data.

    Args:
        mem_size, batch_size_mem, storage_policy: see `CondensedReplayPlugin`.
        plugins: additional plugins.
        base_kwargs: `model`, `optimizer`, `criterion`, `train_mb_size`, `train_epochs`, `device`, `evaluator` and other
            arguments of SupervisedTemplate.
    """

    @checked
    def __init__(
        self,
        *,
        mem_size: Count | None = None,
        batch_size_mem: Count | None = None,
        storage_policy: CondensedBuffer | None = None,
        plugins: Sequence[SupervisedPlugin] | None = None,
        **base_kwargs: Any,
    ) -> None:
        replay = CondensedReplayPlugin(mem_size, batch_size_mem=batch_size_mem, storage_policy=storage_policy)
        super().__init__(plugins=[*(plugins or ()), replay], **base_kwargs)


class CondensedGDumb(SupervisedTemplate):  # type: ignore[misc]
    """A new network after every experience, trained on condensed samples alone; arguments as for `CondensedReplay`."""

    @checked
    def __init__(
        self,
        *,
        mem_size: Count | None = None,
        storage_policy: CondensedBuffer | None = None,
        plugins: Sequence[SupervisedPlugin] | None = None,
        **base_kwargs: Any,
    ) -> None:
        gdumb = CondensedGDumbPlugin(mem_size, storage_policy)
        super().__init__(plugins=[*(plugins or ()), gdumb], **base_kwargs)
