"""One process of the distributed tests; started as a script, because importing pytest's modules takes long."""

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
    """A recipe whose networks are trained on the samples of all classes."""
    dsa = recipes.dsa(ipc=2, iterations=iterations, batch=4, network=ConvNet(width=4, depth=1))
    return dsa.set(pool__period=50, pool__epochs=1, num_blocks=64)


class Dies(Callback):
    """Kills its process in the middle of the run."""

    def on_iteration(self, progress: Progress) -> None:
        if progress.iteration == 5:
            os.kill(os.getpid(), signal.SIGKILL)


class Announces(Callback):
    """Writes the number of each iteration to a file, and slows the run down."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_iteration(self, progress: Progress) -> None:
        self.path.write_text(str(progress.iteration))
        time.sleep(0.05)


def build(folder: Path, iterations: int, callbacks: Any = ()) -> CondensedDataset:
    """Condense with all processes of the process group."""
    return CondensedDataset(
        source(),
        recipe(iterations),
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
        dist.init_process_group(
            "gloo", init_method=f"file://{folder / 'rendezvous'}-{how}", rank=rank, world_size=count
        )
    callbacks = {"whole": [], "dies": [Dies()], "stopped": [Announces(folder / "iteration")]}.get(how, [])
    try:
        if how == "other" and rank:
            condensed = CondensedDataset(
                source(), recipe(iterations), cache=False, progress=False, device="cpu", seed=1
            )
        else:
            condensed = build(folder, iterations, callbacks)
    finally:
        if count > 1:
            dist.destroy_process_group()
    torch.save(condensed.images, folder / f"{how}-{rank}.pt")


if __name__ == "__main__":
    number, of, where, last, what = sys.argv[1:]
    try:
        main(int(number), int(of), Path(where), int(last), what)
    except (OSError, ValueError, KeyboardInterrupt) as error:
        sys.exit(f"{type(error).__name__}: {error}")
