"""Runs that end when their loss stops decreasing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.engine.callbacks.loggers import History
from condensed_data.methods.stopping import EarlyStopping
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
