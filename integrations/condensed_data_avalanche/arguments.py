"""Checks the arguments of CondensedBuffer and the samples that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from condensed_data.core.validation import check_count, is_count
from condensed_data.methods.synthetic.multi_formation import check_cells
from condensed_data_avalanche.storage import DTYPES, StorageLayout

TRIGGERS = ("experience", "task_boundary")
OWNER = "CondensedBuffer"


def check_sizes(max_size: Any, adaptive_size: bool, total_num_classes: int | None) -> None:
    """Check the size of the memory and how it is divided over classes."""
    check_count(OWNER, "max_size", max_size)
    if adaptive_size and total_num_classes is not None:
        raise ValueError(
            f"CondensedBuffer(total_num_classes={total_num_classes}) requires adaptive_size=False. Pass that too, or "
            "omit total_num_classes=."
        )
    if not adaptive_size:
        if total_num_classes is None:
            raise ValueError("CondensedBuffer(adaptive_size=False) requires total_num_classes.")
        check_count(OWNER, "total_num_classes", total_num_classes)


def check_options(
    factor: Any,
    storage_dtype: Any,
    buffer_transform: Any,
    condense_on: Any,
    real_fraction: Any,
    seed: Any,
    max_bytes: Any,
) -> None:
    """Check the keyword arguments."""
    check_count(OWNER, "factor", factor)
    if storage_dtype not in DTYPES:
        known = ", ".join(map(str, DTYPES))
        raise ValueError(f"CondensedBuffer(storage_dtype={storage_dtype!r}) must be one of: {known}.")
    if buffer_transform is not None and not callable(buffer_transform):
        raise TypeError(f"CondensedBuffer(buffer_transform={buffer_transform!r}) must be callable with a sample.")
    if condense_on not in TRIGGERS and not is_count(condense_on):
        raise ValueError(
            f"CondensedBuffer(condense_on={condense_on!r}) must be 'experience', 'task_boundary' or a positive number "
            "of samples."
        )
    if not 0 <= real_fraction <= 1:
        raise ValueError(f"CondensedBuffer(real_fraction={real_fraction!r}) must be a fraction in [0, 1].")
    check_count(OWNER, "seed", seed, least=0)
    if max_bytes is not None:
        check_count(OWNER, "max_bytes", max_bytes)


def check_samples(shape: tuple[int, ...], known: tuple[int, ...] | None, factor: int) -> None:
    """Check that samples have the shape of those in the memory and can be stored at 1/factor of their sides."""
    if known is not None and shape != known:
        raise ValueError(
            f"New samples are of shape {shape}, but those in the memory are of shape {known}. Resize them."
        )
    check_cells(factor, shape, OWNER)


def check_classes(seen: set[int], total: int | None) -> None:
    """Check that there are no more classes than the memory was divided for."""
    if total is not None and len(seen) > total:
        raise ValueError(
            f"Got samples of {len(seen)} classes, but total_num_classes={total}. Increase it, or use "
            "adaptive_size=True."
        )


def max_samples(memory_bytes: Any, shape: tuple[int, ...], classes: int | None, arguments: Mapping[str, Any]) -> int:
    """Samples of a single class that fit into a budget, which must be enough for one of each of `classes`.

    Raises:
        ValueError: if no sample fits, or staged samples or logits could exceed the budget.
    """
    check_count("CondensedBuffer.from_bytes", "memory_bytes", memory_bytes)
    condense_on = arguments.get("condense_on", "experience")
    if condense_on == "task_boundary":
        raise ValueError(
            "condense_on='task_boundary' stages a whole task, however large, and cannot keep a budget of bytes. Use "
            "condense_on=N for N staged samples, or pass max_size instead."
        )
    if arguments.get("logits"):
        raise ValueError(
            "logits=True takes bytes for every output of the model, which a budget of bytes cannot account for. Pass "
            "max_size instead."
        )
    factor, dtype = arguments.get("factor", 1), arguments.get("storage_dtype", torch.uint8)
    check_options(factor, dtype, None, condense_on, arguments.get("real_fraction", 0.0), 0, memory_bytes)
    check_cells(factor, shape, OWNER)
    layout = StorageLayout(shape, factor, dtype, condense_on if isinstance(condense_on, int) else 0)
    fitting = layout.samples_within(memory_bytes, classes or 1)
    if fitting < (classes or 1):
        raise ValueError(
            f"memory_bytes={memory_bytes} holds {max(0, fitting)} samples of shape {shape} with factor={factor} and "
            f"condense_on={condense_on!r}, but needs {classes or 1} for one per class. Increase memory_bytes or "
            "factor, or stage fewer samples."
        )
    return layout.samples_within(memory_bytes, 1)
