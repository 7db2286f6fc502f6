"""Every recipe on a simulated accelerator: tensors of both devices are never mixed, and no iteration synchronizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from exam import CHOOSING, EXAM, GROUPED, LEARNING, NET, build, start
from simulated_device import DEVICE, DeviceTensor, simulated, to_cpu, use_device
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset
from condensed_data.core.device import supports_async_copy
from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import SiameseAugment
from condensed_data.engine.loop import CondensationRun
from condensed_data.networks import ConvNet
from condensed_data.training.compute import batch_loss
from condensed_data.training.protocol import Training
from condensed_data.training.trainer import Trainer

ITERATIONS = 3
# CAFE trains its network until a measured accuracy, which the host has to read.
WAITING = {"cafe", "cafe with augmentation"}


def values(run: CondensationRun) -> dict[str, Tensor]:
    return {name: to_cpu(tensor).detach().clone() for name, tensor in run.synthetic_data.learned.items()}


@pytest.mark.parametrize("name", LEARNING | GROUPED)
def test_an_iteration_gives_the_bits_of_the_cpu_without_synchronizing(name: str, tiny_images: TensorDataset) -> None:
    recipe = (LEARNING | GROUPED)[name]()
    groups = [index % 2 for index in range(len(tiny_images))] if name in GROUPED else None
    here = start(tiny_images, recipe, groups)
    losses = [here.step() for _ in range(ITERATIONS)]
    with simulated() as waits:
        there = start(tiny_images, recipe, groups, DEVICE)
        assert all(isinstance(tensor, DeviceTensor) for tensor in there.synthetic_data.learned.values())
        found = [there.step()]  # the first may make what later ones use
        waits.clear()
        found += [there.step() for _ in range(ITERATIONS - 1)]
        waited = list(waits)
    for name_of, tensor in values(here).items():
        assert torch.equal(tensor, values(there)[name_of]), name_of
    assert all(torch.equal(one, to_cpu(other)) for one, other in zip(losses, found, strict=True))
    assert bool(waited) == (name in WAITING), waited


def test_training_steps_of_an_evaluation_do_not_synchronize(tiny_images: TensorDataset) -> None:
    x, y = tiny_images.tensors

    def trained(device: torch.device, waits: list[str]) -> tuple[Tensor, list[str]]:
        training = Training(epochs=3, batch_size=7, augment=SiameseAugment())
        trainer = Trainer(x.to(device), y.to(device), ConvNet(width=4, depth=1), 3, training, "fp32", None, batch_loss)
        module = trainer.new(RandomStreams(0))
        waits.clear()
        trainer.take_steps(module, RandomStreams(0), lambda epoch: None)
        return to_cpu(next(module.parameters())).detach(), list(waits)

    here, _ = trained(torch.device("cpu"), [])
    with simulated() as waits:
        there, waited = trained(DEVICE, waits)
    assert torch.equal(here, there)
    assert not waited


# recipes that embed real samples, train networks or label samples before or after the iterations
BUILT = [*CHOOSING, "dm", "iid on dm", "mtt with soft labels", "kfs"]
BUILT.append("dm of whitened samples, labeled by a teacher")


@pytest.mark.parametrize("name", BUILT)
def test_a_build_gives_the_samples_of_the_cpu(
    name: str, tiny_images: TensorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = build(tiny_images, EXAM[name]())
    with simulated() as waits, use_device(monkeypatch, DEVICE):
        there = build(tiny_images, EXAM[name]())
        there.save(tmp_path / "set")
        assert waits  # the result is read at least
    assert not isinstance(there.images, DeviceTensor)
    assert torch.equal(there.images, here.images)
    assert there.targets == here.targets
    assert torch.equal(CondensedDataset.load(tmp_path / "set").images, here.images)


@pytest.mark.parametrize("name", ["dm", "dd", "mtt", "idc", "dsa with soft labels", "haba on dm"])
def test_an_evaluation_gives_the_accuracy_of_the_cpu(
    name: str, tiny_images: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build(tiny_images, EXAM[name]())
    how: dict[str, Any] = {"runs": 2, "precision": "fp32", "progress": False}
    if name != "dd":  # it brings its own steps
        how |= {"network": NET, "training": Training(epochs=4, batch_size=4)}
    here = made.evaluate(tiny_images, **how)
    with simulated() as waits, use_device(monkeypatch, DEVICE):
        there = made.evaluate(tiny_images, **how)
        assert waits
    assert here.accuracies == there.accuracies


def test_only_copies_to_mps_are_synchronous() -> None:
    assert [name for name in ("cpu", "cuda:1", "xpu", "mps") if not supports_async_copy(torch.device(name))] == ["mps"]
