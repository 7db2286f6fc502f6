"""What every process of the distributed tests does; started as a script, because pytest's own modules are heavy."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Recipe, recipes
from condensed_data.engine.callbacks.progress import Callback, Progress
from condensed_data.networks import ConvNet


def source() -> TensorDataset:
    """8 samples of each of 3 classes: (24, 1, 8, 8)."""
    labels = torch.arange(3).repeat_interleave(8)
    draw = torch.Generator().manual_seed(0)
    return TensorDataset(torch.rand(24, 1, 8, 8, generator=draw) * (labels + 1).view(-1, 1, 1, 1) / 3, labels)


def recipe(iterations: int) -> Recipe:
    """One whose networks learn from the samples of all classes."""
    made = recipes.dsa(ipc=2, iterations=iterations, batch=4, network=ConvNet(width=4, depth=1))
    return made.set(pool__period=50, pool__epochs=1, num_blocks=64)


class Dies(Callback):
    """Ends its process in the middle of the run, as a machine does that loses power."""

    def on_iteration(self, progress: Progress) -> None:
        if progress.iteration == 5:
            os.kill(os.getpid(), signal.SIGKILL)


class Announces(Callback):
    """Tells whoever waits for it that an iteration is over, and takes its time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_iteration(self, progress: Progress) -> None:
        self.path.write_text(str(progress.iteration))
        time.sleep(0.05)


def build(folder: Path, iterations: int, callbacks: Any = ()) -> CondensedDataset:
    """The set, by whatever processes are here."""
    made = recipe(iterations)
    return CondensedDataset(
        source(),
        made,
        cache=folder / "cache",
        progress=False,
        device="cpu",
        precision="fp32",
        callbacks=callbacks,
    )


def main(rank: int, count: int, folder: Path, iterations: int, how: str) -> None:
    """One process of `count`."""
    torch.set_num_threads(1)
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}-{how}", rank=rank, world_size=count)
    callbacks = {"whole": [], "dies": [Dies()], "stopped": [Announces(folder / "iteration")]}.get(how, [])
    try:
        if how == "other" and rank:
            made = CondensedDataset(source(), recipe(iterations), cache=False, progress=False, device="cpu", seed=1)
        else:
            made = build(folder, iterations, callbacks)
    finally:
        if count > 1:
            dist.destroy_process_group()
    torch.save(made.images, folder / f"{how}-{rank}.pt")


if __name__ == "__main__":
    number, of, where, last, what = sys.argv[1:]
    try:
        main(int(number), int(of), Path(where), int(last), what)
    except (OSError, ValueError, KeyboardInterrupt) as error:
        sys.exit(f"{type(error).__name__}: {error}")
