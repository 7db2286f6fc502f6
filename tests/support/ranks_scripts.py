"""Programs of users that condense on two ranks; `test_ranks_scripts.py` starts them by name."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.core import rendezvous
from condensed_data.evaluation import baselines
from condensed_data.training.features import Trained
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.protocols import quick

DM = recipes.dm(ipc=2, iterations=3, network="convnet-w4-d1")
FEATURES = Trained(network="convnet-w4-d1", pretrain=Pretraining(epochs=1))


def source(seed: int = 0) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.rand(60, 1, 8, 8, generator=draw), torch.arange(60) % 3)


def condense(recipe: Any = DM, data: Any = None, **options: Any) -> CondensedDataset:
    options = {"cache": False, "progress": False, "device": "cpu", **options}
    return CondensedDataset(source() if data is None else data, recipe, **options)


def alone(rank: int, folder: Path) -> None:
    """What rank 0 does by itself after a common build; the other rank has ended meanwhile."""
    small = condense()
    if rank:
        return
    again = condense(distributed=False)  # one process computes all classes at once, which rounds differently
    torch.testing.assert_close(again.images, small.images, rtol=1e-2, atol=1e-2)
    random = condense(recipes.random(ipc=2), cache=folder / "cache")  # learns nothing, so it is not divided
    herding = condense(recipes.herding(ipc=2, features=FEATURES), cache=folder / "cache")
    for dataset in (small, random, herding):
        dataset.evaluate(source(1), "convnet-w4-d1", runs=1, training=replace(quick(), epochs=1), progress=False)
    baselines.compare(small, source(), source(1), network="convnet-w4-d1", runs=1, progress=False)
    small.plot(folder / "grid.png")
    small.save(folder / "saved")
    with pytest.raises(rendezvous.LostRankError, match=r"pass distributed=False to condense in this process alone"):
        condense(DM.set(ipc=1))


def together(rank: int, folder: Path) -> None:
    """Ranks with differing arguments and data; then DDP on a result, beside a subgroup; then a second process group."""
    with pytest.raises(ValueError, match="Rank 1 was started with different arguments than rank 0"):
        condense(cache=folder / "cache" if rank == 0 else False)
    with pytest.raises(ValueError, match=r"Rank 1 read different samples.* seed what splits or shuffles it"):
        condense(data=source(rank))
    with pytest.raises(ValueError, match=r"Rank 1 read different samples, labels or groups"):
        condense(groups=[(index + rank) // 3 % 2 for index in range(60)])
    subgroup = dist.new_group([0])
    small = condense()
    model = DistributedDataParallel(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)))
    for x, y in DataLoader(small, batch_size=2, sampler=DistributedSampler(small)):
        torch.nn.functional.cross_entropy(model(x), y).backward()
    if rank == 0:
        dist.barrier(subgroup)
        condense(distributed=False)
    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        condense()
    dist.init_process_group("gloo", init_method=f"file://{folder / 'second'}", rank=rank, world_size=2)
    elsewhere(rank)
    assert torch.equal(condense().images, small.images)


def elsewhere(rank: int) -> None:
    """Rank 0 condenses alone while the other rank waits for it in a barrier, which still works afterwards."""
    if rank == 0:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rendezvous, "PATIENCE", 0.05)
            patch.setattr(rendezvous, "START_TIMEOUT", timedelta(seconds=1))
            with pytest.raises(rendezvous.LostRankError, match=r"did not begin this build within 1 s"):
                condense()
    dist.barrier()


class Broken(TensorDataset):
    """Fails at sample 20."""

    def __getitem__(self, index: int) -> Any:
        if index == 20:
            raise OSError("the file of sample 20 is missing")
        return super().__getitem__(index)


def broken(rank: int, folder: Path) -> None:
    """One rank cannot read its data."""
    condense(data=Broken(*source().tensors) if rank else None)


if __name__ == "__main__":
    number, count, where, name = sys.argv[1:]
    torch.set_num_threads(1)
    store = f"file://{Path(where) / 'rendezvous'}"
    dist.init_process_group("gloo", init_method=store, rank=int(number), world_size=int(count))
    try:
        globals()[name](int(number), Path(where))
    finally:
        dist.destroy_process_group()
