"""Estimates how much memory a build needs, before it starts.

The estimate adds what is certainly needed: the samples, the learned tensors with their gradients and optimizer state,
one step's real batch, and the activations and weights that objectives declare as kept for the gradient. Activations
are measured by running two rows through the real network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from condensed_data.core.caller_warnings import warn_caller
from condensed_data.core.sizes import format_bytes
from condensed_data.core.spec import require_resolved
from condensed_data.data.real import RealData
from condensed_data.data.sample_store import TooLargeError, available_memory, require_memory
from condensed_data.engine.parts import StartedParts
from condensed_data.methods.recipe import Recipe
from condensed_data.training.compute import activation_sizes
from condensed_data.training.context import Context

# float32 copies of every learned tensor: the values, their gradient, and the optimizer's state
_COPIES = {"sgd": 3, "adam": 4, "adamw": 4, "lamb": 4}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a build needs.

    Attributes:
        samples: the samples of the source.
        on_disk: whether these are kept in a file instead of in memory.
        learned: synthetic data, its gradient and the optimizer state.
        batch: the real samples of one step, and their augmented copy.
        activations: feature maps of the networks, for the synthetic rows of one gradient and the real rows of one
            forward pass.
        weights: copies of network weights that unrolled training keeps.
        remedies: changes that would make these smaller.
    """

    samples: int
    on_disk: bool
    learned: int
    batch: int
    activations: int
    weights: int = 0
    remedies: tuple[str, ...] = ()

    @property
    def working(self) -> int:
        """Bytes needed on the device in addition to the samples."""
        return self.learned + self.batch + self.activations + self.weights

    def __str__(self) -> str:
        weights = f", {format_bytes(self.weights)} network weights" if self.weights else ""
        return (
            f"{format_bytes(self.working)} for computing ({format_bytes(self.learned)} synthetic data and optimizer, "
            f"{format_bytes(self.batch)} real batch, {format_bytes(self.activations)} activations{weights}) and "
            f"{format_bytes(self.samples)} for samples {'on disk' if self.on_disk else 'in memory'}"
        )


def estimate_memory(
    parts: StartedParts, context: Context, groups: Sequence[int], num_chunks: int = 1
) -> MemoryEstimate:
    """Estimate the memory that the coming iterations need; computes only two rows of each network.

    Args:
        parts: the started parts of a recipe.
        context: the context that they started from.
        groups: the groups whose gradient is computed at once.
        num_chunks: number of chunks of groups that this gradient is accumulated from.
    """
    store = context.real.store
    learned = sum(tensor.numel() * 4 for tensor in parts.synthetic_data.learned.values())
    rows, activations, weights, element_size = 0, 0, 0, 2 if context.precision == "bf16" else 4
    remedies = ["a smaller ipc"]
    for term in parts.recipe.terms:
        draw = parts.sampler_states[term.sampler].draw(parts.iteration, groups)
        footprint = term.objective.memory_footprint(draw.real_sizes, draw.synthetic_sizes)
        network = parts.pool_states[term.pool].network_at(parts.iteration)
        real_rows = footprint.real
        if real_rows is None:  # no gradient flows through them, so that they may pass in micro-batches
            real_rows = min(len(draw.real), network.micro_batch or len(draw.real))
        rows = max(rows, len(draw.real))
        synthetic_rows = -(-footprint.synthetic // num_chunks)
        inputs = torch.zeros(2, *context.real.sample_shape, device=context.device)
        row_bytes = sum(activation_sizes(network.module, inputs)[0]) // 2 * element_size
        activations += row_bytes * (synthetic_rows + real_rows)
        weights += footprint.weights * sum(weight.numel() * 4 for weight in network.module.parameters())
        remedies += filter(None, (footprint.remedy,))
    remedies.append("a smaller sampler.batch or network")
    return MemoryEstimate(
        samples=store.bytes,
        on_disk=store.on_disk,
        learned=_COPIES[require_resolved(parts.recipe.optimizer.kind)] * learned,
        batch=2 * rows * 4 * prod(context.real.sample_shape),
        activations=activations,
        weights=weights,
        remedies=tuple(dict.fromkeys(remedies)),
    )


def fit_memory(parts: StartedParts, context: Context, groups: Sequence[int]) -> tuple[MemoryEstimate, int]:
    """The estimate for as few chunks as fit into free memory, and their number; arguments as for `estimate_memory`.

    Raises:
        TooLargeError: if even single groups do not fit; the message says what to change.
    """
    device, num_chunks = context.device, 1
    free, needed = free_memory(device), estimate_memory(parts, context, groups)
    while needed.working > free and num_chunks < len(groups) and parts.separable:
        num_chunks *= 2
        needed = estimate_memory(parts, context, groups, num_chunks)
    if needed.working > free:
        raise TooLargeError(
            f"This build needs {format_bytes(needed.working)} of memory, but only {format_bytes(free)} is free on "
            f"{device} ({needed}). Use {', '.join(needed.remedies[:-1])}, or {needed.remedies[-1]}."
        )
    return needed, num_chunks


def check_result(recipe: Recipe, sample_shape: tuple[int, ...], classes: int) -> None:
    """Multiply out the size of a result before anything is allocated.

    Args:
        recipe: resolved.
        sample_shape: of one sample.
        classes: number of classes, or a smaller one if not all are known yet.

    Raises:
        TooLargeError: if the samples, and what is kept to learn them, do not fit into memory.
    """
    decoded = recipe.synthetic.samples_per_class(recipe.ipc, sample_shape)
    stored = recipe.ipc * (_COPIES[require_resolved(recipe.optimizer.kind)] if recipe.terms else 1)
    require_memory(
        classes * (decoded + stored) * prod(sample_shape) * 4,
        f"ipc={recipe.ipc:,} with {classes} {'class' if classes == 1 else 'classes'} of shape {sample_shape} is "
        f"{classes * decoded:,} samples",
        "Use a smaller ipc",
    )


def warn_about_class_sizes(recipe: Recipe, real: RealData) -> None:
    """Warn if `ipc` is so large that a class is not condensed: not below its size, or above it for a selection."""
    least, sizes = recipe.ipc + (0 if recipe.terms else -1), real.labels.bincount(minlength=real.num_classes).tolist()
    names = [(name, size) for name, size in zip(real.class_names, sizes, strict=True) if size <= least]
    if not names:
        return
    name, size = names[0]
    others = f" ({len(names) - 1} more such classes)" if len(names) > 1 else ""
    effect = "the condensed samples are no fewer than the real ones" if recipe.terms else "its samples are repeated"
    warn_caller(f"ipc={recipe.ipc}, but class {name!r} has only {size} samples{others}: {effect}. Use a smaller ipc.")


def free_memory(device: torch.device) -> int:
    """Bytes that are free on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()
