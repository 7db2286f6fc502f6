"""Runs that end, or take smaller steps, when their loss stops decreasing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pool_data import context, through_a_file
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.engine.callbacks.loggers import History
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.recipe import Optimizer
from condensed_data.methods.stopping import EarlyStopping, Plateau
from condensed_data.networks import ConvNet

RECIPE = recipes.dm(ipc=1, iterations=40, batch=8, network=ConvNet(width=8, depth=2))


def iterations_until_stop(early_stopping: EarlyStopping, losses: list[float]) -> int:
    state = early_stopping.start()
    for number, loss in enumerate(losses, start=1):
        state.add(torch.tensor(loss))
        if state.reached:
            return number
    return 0


def test_it_compares_the_means_of_windows() -> None:
    falling = [100 - index for index in range(60)]
    assert iterations_until_stop(EarlyStopping(5, 0.01), falling) == 0
    assert iterations_until_stop(EarlyStopping(5, 0.01), falling[:20] + [81.0] * 40) == 30
    noisy = [1 + (-1) ** index * 0.9 for index in range(40)]
    assert iterations_until_stop(EarlyStopping(10, 0.0), noisy) == 20


def test_a_stopped_run_resumes_to_the_same_bits(
    tiny_images: TensorDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSED_DATA_CHECKPOINT_SECONDS", "0")
    recipe = replace(
        RECIPE, early_stopping=EarlyStopping(4, 0.9)
    )  # nothing falls by nine tenths: it ends after two windows
    how = {"progress": False, "device": "cpu", "precision": "fp32"}
    whole = CondensedDataset(tiny_images, recipe, cache=False, **how)
    assert whole.metadata.iterations == 8
    history = History()

    class Killed(History):
        def on_iteration(self, progress: object) -> None:
            if progress.iteration == 6:  # type: ignore[attr-defined]
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        CondensedDataset(tiny_images, recipe, cache=tmp_path, callbacks=[Killed()], **how)
    again = CondensedDataset(tiny_images, recipe, cache=tmp_path, callbacks=[history], **how)
    assert again.metadata.iterations == 8
    assert history.iterations[-1] == 8
    assert history.iterations[0] > 1
    assert torch.equal(again.images, whole.images)


@pytest.mark.parametrize("wrong", [{"window": 0}, {"tolerance": 1.0}, {"tolerance": -0.1}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"EarlyStopping\({next(iter(wrong))}="):
        EarlyStopping(**wrong)  # type: ignore[arg-type]


def test_milestones_lower_the_learning_rate(tiny_images: TensorDataset) -> None:
    how = {"progress": False, "device": "cpu", "precision": "fp32", "cache": False}
    low = replace(RECIPE, iterations=4, optimizer=replace(RECIPE.optimizer, milestones=(2,), decay=1e-12, momentum=0.0))
    two = replace(RECIPE, iterations=2, optimizer=replace(RECIPE.optimizer, momentum=0.0))
    torch.testing.assert_close(
        CondensedDataset(tiny_images, low, **how).images, CondensedDataset(tiny_images, two, **how).images
    )
    with pytest.raises(ValueError, match="milestones"):
        RECIPE.set(optimizer__milestones=(0,))


def test_a_plateau_lowers_rates_as_pytorch_does() -> None:
    losses = torch.rand(200, generator=torch.Generator().manual_seed(0)) - torch.arange(200) * 0.004
    ours, theirs = (torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 0.1, "initial_lr": 0.1}]) for _ in range(2))
    state = Plateau(patience=4, factor=0.7).start()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.7, patience=4)
    for loss in losses:
        state.add(loss, ours)
        scheduler.step(float(loss))
        Optimizer().tune(ours, 0, 1)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
    assert ours.param_groups[0]["lr"] < 0.01


def test_a_run_on_a_plateau_resumes_to_the_same_bits(tmp_path: Path) -> None:
    optimizer = replace(RECIPE.optimizer, plateau=Plateau(patience=2, threshold=0.9))  # nothing falls by nine tenths
    recipe = replace(RECIPE, optimizer=optimizer, iterations=8).resolve((1, 8, 8), ["a", "b", "c"])
    whole, stopped, again = (CondensationRun(recipe, context()) for _ in range(3))
    for _ in range(8):
        whole.step()
    for _ in range(5):
        stopped.step()
    again.load_state_dict(through_a_file(stopped.state_dict(), tmp_path))
    for _ in range(3):
        again.step()
    assert torch.equal(again.synthetic_data.learned["images"], whole.synthetic_data.learned["images"])
    assert whole.optimizer is not None
    assert whole.optimizer.param_groups[0]["initial_lr"] == 0.25 * recipe.optimizer.lr  # after 4 and 7 iterations


@pytest.mark.parametrize("fields", [{"patience": -1}, {"factor": 1.0}, {"factor": 0.0}, {"threshold": 1.0}])
def test_a_plateau_is_checked(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"Plateau\({next(iter(fields))}="):
        Plateau(**fields)  # type: ignore[arg-type]
