"""One process of several that have fewer classes than they are; `test_teams.py` compares what they end at."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from test_recipes import briefly
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Recipe, recipes
from condensed_data.callbacks import Callback
from condensed_data.networks import ConvNet
from condensed_data.parts import Context
from condensed_data.pools import lending
from condensed_data.ranks import Ranks
from condensed_data.run import Run
from condensed_data.sources.real import Real
from condensed_data.sources.source import inspect
from condensed_data.streams import Streams
from condensed_data.teams import Team

CLASSES, EACH = 2, 280  # on a CPU pieces of 64, 64, 64, 64 and 24 rows
SWEEPS = 3


def learned(name: str, **options: Any) -> Recipe:
    """A quick one that looks at all real samples in every sweep."""
    net = ConvNet(width=4, depth=1)
    made = recipes.get(name, ipc=2, sweeps=SWEEPS, batch=EACH, network=net, **options)
    return briefly(made).set(blocks=64)


CASES: dict[str, Callable[[], Recipe]] = {
    "dm": lambda: learned("dm"),
    "dm as on an accelerator": lambda: learned("dm"),
    "dm from a file": lambda: learned("dm"),
    "dm in one block": lambda: learned("dm").set(blocks=1),
    "dsa": lambda: learned("dsa"),
    "idc": lambda: learned("idc", lr=0.01),
    "haba on idc": lambda: learned("haba", base="idc", hallucinators=2).set(ipc=4),
    "idm": lambda: learned("idm"),
    "cafe": lambda: learned("cafe"),
    "ncfm": lambda: learned("ncfm").set(objective__frequencies=8),
}
AS_ON_AN_ACCELERATOR = {"dm as on an accelerator"}  # whose pieces follow from the number of shares


def source() -> TensorDataset:
    """(560, 1, 8, 8) of two classes."""
    draw, labels = torch.Generator().manual_seed(0), torch.arange(CLASSES).repeat_interleave(EACH)
    return TensorDataset(
        torch.rand(len(labels), 1, 8, 8, generator=draw) * (labels + 1).view(-1, 1, 1, 1) / 2, labels
    )


def start(name: str, ranks: Ranks) -> Run:
    """The run of a case, on some ranks."""
    memory = 1 if name == "dm from a file" else None
    real = Real.read(inspect(source()), progress=False, memory=memory)
    recipe = CASES[name]().resolve(real.sample_shape, real.class_names, samples=len(real))
    rows = 4096 if name in AS_ON_AN_ACCELERATOR else lending.CACHE_ROWS
    with mock.patch.object(lending, "CACHE_ROWS", rows):
        return Run(recipe, Context(real, recipe.ipc, Streams(0), torch.device("cpu"), ranks=ranks))


@contextmanager
def counted(channels: int = 1) -> Iterator[list[int]]:
    """Rows of every forward of a network whose first layer is the one with so many channels."""
    rows: list[int] = []

    def count(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == channels:
            rows.append(len(inputs[0]))

    handle = nn.modules.module.register_module_forward_pre_hook(count)
    try:
        yield rows
    finally:
        handle.remove()


def bits(name: str, ranks: Ranks) -> dict[str, Tensor]:
    """Losses and learned tensors after some sweeps, and the rows that went through networks meanwhile."""
    run = start(name, ranks)
    with counted() as rows:
        losses = torch.stack([run.step() for _ in range(SWEEPS)])
    found = {key: tensor.detach().clone() for key, tensor in run.synthesis.learned.items()}
    return {"rows": torch.tensor(sum(rows)), "losses": losses, **found}


def out_of_memory(ranks: Ranks, failing: int, after: bool) -> dict[str, Tensor]:
    """A share of two classes, for which one process has no memory the first time, before or after its gradient."""
    run, gradients, tried = start("dm in one block", ranks), Run._gradients, []

    def fails(self: Run, work: Any, team: Team) -> Any:
        tried.append(self.pieces)
        first = len(tried) == 1 and ranks.rank == failing
        found = {} if first and not after else gradients(self, work, team)
        if first:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")
        return found

    with mock.patch.object(Run, "_gradients", fails):
        losses = torch.stack([run.step() for _ in range(SWEEPS)])
    found = {key: tensor.detach().clone() for key, tensor in run.synthesis.learned.items()}
    return {"tried": torch.tensor(tried), "losses": losses, **found}


def build(folder: Path, callbacks: Sequence[Callback] = ()) -> CondensedDataset:
    """A set, by whatever processes are here."""
    return CondensedDataset(
        source(),
        learned("dsa").set(sweeps=6),
        cache=folder / "cache",
        progress=False,
        device="cpu",
        precision="fp32",
        callbacks=callbacks,
    )


def dies(folder: Path, rank: int) -> None:
    """Build, while the third process ends as a machine does that loses power, in the middle of a sweep."""
    each, calls = Team.each, []

    def last(self: Team, *given: Any) -> Any:
        calls.append(given)
        if rank == 2 and len(calls) > 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return each(self, *given)

    with mock.patch.object(Team, "each", last):
        build(folder)


def work(rank: int, count: int, folder: Path) -> None:
    """What one of `count` processes does."""
    ranks = Ranks.here()
    torch.save({name: bits(name, ranks) for name in CASES}, folder / f"{count}-{rank}.pt")
    if count == 3:
        ends = {"helper": (2, False), "owner": (0, True)}
        found = {name: out_of_memory(ranks, *end) for name, end in ends.items()}
        torch.save(found, folder / f"memory-{rank}.pt")
        dies(folder, rank)


def main(rank: int, folder: Path, counts: list[int]) -> None:
    """One process of several numbers of processes, one after the other, as starting processes takes longest."""
    torch.set_num_threads(1)
    for count in counts:
        if rank < count:
            meeting = f"file://{folder / f'meeting-{count}'}"
            dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
            try:
                work(rank, count, folder)
            finally:
                dist.destroy_process_group()


if __name__ == "__main__":
    number, where, *of = sys.argv[1:]
    try:
        main(int(number), Path(where), [int(text) for text in of])
    except OSError as error:
        sys.exit(f"{type(error).__name__}: {error}")
