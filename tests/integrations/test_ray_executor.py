"""RayExecutor on a local cluster: results, errors, and a killed worker."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from exam import mtt
from ray_work import dies_once, fails, square, threads
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.methods.recipes import registry
from condensed_data.training.protocol import Training

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def executor() -> Iterator[Any]:
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")
    from condensed_data_ray import RayExecutor

    paths = {
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parents[1] / "support"), *os.environ.get("PYTHONPATH", "").split(":")]
        )
    }
    with RayExecutor(
        cluster={"num_cpus": 2, "include_dashboard": False, "runtime_env": {"env_vars": paths}}
    ) as executor:
        yield executor


def test_results_and_errors_are_returned(executor: Any) -> None:
    assert list(executor.map(square, range(5))) == [0, 1, 4, 9, 16]
    assert executor.submit(threads).result(60) == 1
    with pytest.raises(FloatingPointError, match="diverged"):
        executor.submit(fails).result(60)


def test_a_call_of_a_killed_worker_is_repeated(executor: Any, tmp_path: Path) -> None:
    assert list(executor.map(dies_once, [str(tmp_path)] * 4, range(4))) == [0, 1, 2, 3]
    assert (tmp_path / "died").exists()


def test_experts_and_evaluations_equal_those_of_this_process(
    executor: Any, tiny_images: TensorDataset, tiny_test_images: TensorDataset
) -> None:
    how = {"cache": False, "progress": False, "device": "cpu", "precision": "fp32"}
    here = CondensedDataset(tiny_images, mtt(), **how)
    there = CondensedDataset(tiny_images, mtt(), executor=executor, **how)
    assert torch.equal(here.images, there.images)
    made = CondensedDataset(tiny_images, recipes.random(ipc=2), **how)
    short = {
        "runs": 2,
        "training": Training(epochs=5),
        "network": "convnet-d1-w4",
        "progress": False,
        "device": "cpu",
    }
    alone = made.evaluate(tiny_test_images, **short)
    shared = made.evaluate(tiny_test_images, executor=executor, **short)
    assert alone.accuracies == shared.accuracies


def test_invalid_numbers_and_use_after_shutdown_are_refused(executor: Any) -> None:
    from condensed_data_ray import RayExecutor

    for wrong in ({"num_cpus": 0}, {"num_gpus": -1}, {"retries": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RayExecutor(**wrong)
    second = RayExecutor()
    second.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        second.submit(square, 1)
    assert executor.submit(square, 3).result(60) == 9


def test_the_example_of_the_package_runs(
    executor: Any, tiny_images: TensorDataset, tiny_test_images: TensorDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import condensed_data_ray

    example = str(condensed_data_ray.__doc__).split("\n\n", 1)[1].split("\nInstall")[0]
    small = mtt().set(training__epochs=1)
    monkeypatch.setitem(registry._FUNCTIONS, "mtt", lambda ipc=1: small)
    names = {"CondensedDataset": CondensedDataset, "train_set": tiny_images, "test_set": tiny_test_images}
    exec(compile(textwrap.dedent(example), "condensed_data_ray", "exec"), names)
    assert len(names["condensed"]) > 0  # type: ignore[arg-type]
