"""The arguments of a CondensedBuffer, checked where they enter, and its arithmetic of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from condensed_data.methods.synthetic.multi_formation import check_cells
from condensed_data_avalanche.quantized import DTYPES, block_bytes, sample_bytes

if TYPE_CHECKING:
    from condensed_data_avalanche.buffer import CondensedBuffer

GATES = ("experience", "task_boundary")


def check_division(max_size: Any, adaptive_size: bool, total_num_classes: int | None) -> None:
    """Refuse sizes that are none, and a division that is half said."""
    if not _counts(max_size):
        raise ValueError(f"max_size={max_size!r} must be a positive whole number of samples.")
    if adaptive_size and total_num_classes is not None:
        raise ValueError(
            f"total_num_classes={total_num_classes} divides the memory from the start: pass adaptive_size=False with "
            "it, or leave it out."
        )
    if not adaptive_size and not _counts(total_num_classes):
        raise ValueError(
            f"adaptive_size=False needs the number of classes, not total_num_classes={total_num_classes!r}."
        )


def check(
    factor: Any,
    storage_dtype: Any,
    buffer_transform: Any,
    condense_on: Any,
    real_fraction: Any,
    seed: Any,
    max_bytes: Any,
) -> None:
    """Refuse the other arguments where they are out of range."""
    if not _counts(factor):
        raise ValueError(f"factor={factor!r} must be a positive whole number.")
    if storage_dtype not in DTYPES:
        known = ", ".join(map(str, DTYPES))
        raise ValueError(f"storage_dtype={storage_dtype!r} must be one of: {known}.")
    if buffer_transform is not None and not callable(buffer_transform):
        raise TypeError(f"buffer_transform={buffer_transform!r} must be a function of a sample.")
    if condense_on not in GATES and not _counts(condense_on):
        raise ValueError(
            f"condense_on={condense_on!r} must be 'experience', 'task_boundary' or a positive number of samples."
        )
    if not 0 <= real_fraction <= 1:
        raise ValueError(f"real_fraction={real_fraction!r} must be a share in [0, 1].")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed!r} must be a non-negative whole number.")
    if max_bytes is not None and not _counts(max_bytes):
        raise ValueError(f"max_bytes={max_bytes!r} must be a positive number of bytes.")


def check_samples(shape: tuple[int, ...], known: tuple[int, ...] | None, factor: int) -> None:
    """Refuse samples of another shape than before, or that cannot be reduced."""
    if known is not None and shape != known:
        raise ValueError(f"The samples are of shape {shape}, those in the memory of {known}. Resize them.")
    check_cells(factor, shape, "CondensedBuffer")


def check_classes(seen: set[int], total: int | None) -> None:
    """Refuse more classes than the memory was divided for."""
    if total is not None and len(seen) > total:
        raise ValueError(
            f"{len(seen)} classes came, and total_num_classes={total}. Say how many there will be, or use "
            "adaptive_size=True."
        )


def capacity(
    memory_bytes: Any, shape: tuple[int, ...], classes: int | None, arguments: Mapping[str, Any]
) -> int:
    """Samples of a single class that a budget holds.

    Raises:
        ValueError: for a budget that holds no sample, or that staged samples or logits would exceed.
    """
    if not _counts(memory_bytes):
        raise ValueError(f"memory_bytes={memory_bytes!r} must be a positive number of bytes.")
    gate = arguments.get("condense_on", "experience")
    if gate == "task_boundary":
        raise ValueError(
            "condense_on='task_boundary' stages a whole task, however large, and cannot keep a budget of bytes. Use "
            "condense_on=N for N staged samples, or max_size."
        )
    if arguments.get("logits"):
        raise ValueError(
            "logits=True takes bytes for every output of a model, which a budget of bytes cannot know. Use max_size."
        )
    factor, dtype = arguments.get("factor", 1), arguments.get("storage_dtype", torch.uint8)
    check(factor, dtype, None, gate, arguments.get("real_fraction", 0.0), 0, memory_bytes)
    check_cells(factor, shape, "CondensedBuffer")
    count = _fitting(memory_bytes, classes or 1, shape, factor, dtype, gate)
    if count < (classes or 1):
        raise ValueError(
            f"memory_bytes={memory_bytes} holds {max(0, count)} samples of shape {shape}, {factor=}, condense_on="
            f"{gate!r}, for {classes or 1} classes. Give more, raise factor, or stage fewer samples."
        )
    return _fitting(memory_bytes, 1, shape, factor, dtype, gate)


def fitting(buffer: CondensedBuffer, cells: int, shape: tuple[int, ...]) -> int:
    """Samples that fit a buffer's bytes when so many cells share them."""
    assert buffer.max_bytes is not None
    how = buffer.factor, buffer.storage_dtype, buffer.condense_on
    return max(0, min(buffer.max_size, _fitting(buffer.max_bytes, cells, shape, *how)))


def _fitting(
    budget: int, cells: int, shape: tuple[int, ...], factor: int, dtype: torch.dtype, gate: str | int
) -> int:
    block = block_bytes(shape, dtype)
    staged = gate * (sample_bytes(shape, 1, dtype) + block) if isinstance(gate, int) else 0
    return (budget - staged - cells * block) // sample_bytes(shape, factor, dtype)


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
