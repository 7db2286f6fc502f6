"""A DataLoader over the training steps of a dataset that was condensed for one training run.

Letters: T steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader, Dataset

from condensed_data.methods.replay import TrainingSchedule

ORDER_WARNING = (
    "This dataset was condensed for one training run: its own steps in their order, with their step sizes. In any "
    "other order it is worth little. Use .evaluate(...), or .loader() with .replay.step_sizes and .replay.initial."
)
_CHANGE_THE_STEPS = {"batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"}


def ordered_loader(dataset: Dataset[Any], schedule: TrainingSchedule, options: Mapping[str, Any]) -> DataLoader[Any]:
    """A DataLoader of T batches, one for each training step, in order; `options` go to it.

    Raises:
        ValueError: for options that would change the steps.
    """
    changing = sorted(_CHANGE_THE_STEPS & options.keys())
    if changing:
        raise ValueError(
            f"loader({changing[0]}={options[changing[0]]!r}) would change the training steps that this dataset was "
            "condensed for. Omit it, or build a loader of your own with torch.utils.data.DataLoader(...)."
        )
    return DataLoader(dataset, batch_sampler=[block.tolist() for block in schedule.blocks], **options)
