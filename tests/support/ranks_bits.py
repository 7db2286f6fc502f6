"""One of several processes that run recipes of the exam; `test_distributed.py` compares their results."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from exam import GROUPED, LEARNING
from torch import Tensor

from condensed_data.core.process_group import ProcessGroup
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.pools import network_slot
from condensed_data.training.context import Context

ITERATIONS = 3
ROWS = 3  # rows per chunk of real samples, so that there are several chunks


def results(name: str, source: torch.utils.data.TensorDataset, ranks: ProcessGroup) -> dict[str, Tensor]:
    """Losses and learned tensors after a few iterations of a recipe that is computed in blocks."""
    groups = [index % 2 for index in range(len(source))] if name in GROUPED else None
    recipe = (LEARNING | GROUPED)[name]().set(num_blocks=64)
    recipe = recipe.set(ipc=4) if groups else recipe
    real = RealData.read(inspect(source), groups, progress=False)
    resolved = recipe.resolve(real.sample_shape, real.class_names, samples=len(real))
    with mock.patch.object(network_slot, "CACHE_ROWS", ROWS):
        run = CondensationRun(resolved, Context(real, resolved.ipc, RandomStreams(0), torch.device("cpu"), ranks=ranks))
        losses = torch.stack([run.step() for _ in range(ITERATIONS)])
    return {
        "losses": losses,
        **{key: tensor.detach().clone() for key, tensor in run.synthetic_data.learned.items()},
    }


def main(rank: int, count: int, folder: Path, names: list[str]) -> None:
    """Run the named recipes on the source in the folder."""
    torch.set_num_threads(1)
    source = torch.utils.data.TensorDataset(*torch.load(folder / "source.pt", weights_only=True))
    rendezvous = f"file://{folder / f'rendezvous-of-{count}'}"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=count)
    try:
        torch.save({name: results(name, source, ProcessGroup.here()) for name in names}, folder / f"{count}-{rank}.pt")
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
