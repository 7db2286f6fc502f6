"""How much memory a build will take, before it starts.

The estimate adds what is surely there: the samples, the learned tensors with their gradients and optimizer state,
one step's real batch, and the maps and weights that objectives say they keep for a gradient. The maps are measured
on two rows of a real network, not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

from condensed_data.core.sizes import readable
from condensed_data.data.sample_store import available_memory
from condensed_data.engine.loop import CondensationRun
from condensed_data.training.compute import map_sizes


class TooLargeError(ValueError):
    """A build that cannot fit; the message says what would."""


@dataclass(frozen=True)
class Estimate:
    """Bytes that a build needs.

    Attributes:
        samples: of the source, where the store holds them.
        on_disk: whether they lie in a file.
        learned: synthetic data, gradient and optimizer state.
        batch: the real samples of one step, twice for their augmented copy.
        maps: of the networks, for the synthetic rows of one gradient and the real rows of one forward.
        weights: of networks on their way through unrolled training.
        remedies: what would make these smaller.
    """

    samples: int
    on_disk: bool
    learned: int
    batch: int
    maps: int
    weights: int = 0
    remedies: tuple[str, ...] = ()

    @property
    def working(self) -> int:
        """What comes on top of the samples."""
        return self.learned + self.batch + self.maps + self.weights

    def __str__(self) -> str:
        where = "on disk" if self.on_disk else "in memory"
        unrolled = f", {readable(self.weights)} weights" if self.weights else ""
        return (
            f"memory: {readable(self.working)} to compute ({readable(self.learned)} learned, {readable(self.batch)} "
            f"real batch, {readable(self.maps)} maps{unrolled}) and {readable(self.samples)} of samples {where}"
        )


def estimate(run: CondensationRun) -> Estimate:
    """What the coming iterations of a run need; nothing is computed but two rows of each network."""
    context, synthetic_data = run.context, run.synthetic_data
    learned = sum(tensor.numel() * 4 for tensor in synthetic_data.learned.values())
    copies = {"sgd": 3, "adam": 4, "adamw": 4}[run.recipe.optimizer.kind]
    groups = run.plan.largest_block
    row = 4 * prod(context.real.sample_shape)
    rows, maps, weights, remedies = 0, 0, 0, dict.fromkeys(("a smaller ipc",))
    for term in run.recipe.terms:
        drawn = run.sampler_states[term.sampler].draw(run.iteration, groups)
        rows = max(rows, len(drawn.real))
        net = run.pool_states[term.pool].network_at(run.iteration)
        width = 2 if context.precision == "bf16" else 4
        inputs = torch.zeros(2, *context.real.sample_shape, device=context.device)
        per_row = sum(map_sizes(net.module, inputs)[0]) // 2 * width
        held = term.objective.memory_footprint(drawn.real_sizes, drawn.synthetic_sizes)
        looked = held.real
        if looked is None:
            looked = len(drawn.real) if net.micro_batch is None else min(net.micro_batch, len(drawn.real))
        maps += per_row * (-(-held.synthetic // run.gradient.num_chunks) + looked)
        weights += held.weights * sum(weight.numel() * 4 for weight in net.module.parameters())
        remedies |= dict.fromkeys(filter(None, (held.remedy,)))
    remedies |= dict.fromkeys(("a smaller sampler.batch or network",))
    store = context.real.store
    used = copies * learned, 2 * rows * row, maps, weights
    return Estimate(store.bytes, store.on_disk, *used, tuple(remedies))


def fit(run: CondensationRun) -> Estimate:
    """The estimate, after the step was cut into as many pieces as the memory asks for.

    Raises:
        TooLargeError: where even the smallest pieces do not fit; the message says what would.
    """
    free = _free(run.context.device)
    found = estimate(run)
    groups = len(run.plan.largest_block)
    while found.working > free and run.gradient.num_chunks < groups and run.parts.separable:
        run.gradient.num_chunks *= 2
        found = estimate(run)
    if found.working > free:
        raise TooLargeError(
            f"This build needs {readable(found.working)} to compute, and {readable(free)} are free on "
            f"{run.context.device} ({found}). Use {', '.join(found.remedies[:-1])}, or {found.remedies[-1]}."
        )
    return found


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()
