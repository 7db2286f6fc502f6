"""Ray: Tune with ASHA on a local cluster of two workers, and a task whose worker is killed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import nas_data
import pytest
from nas_data import FINE, SMALLER, SPACE, TOO_DEEP, objective

from condensed_data_nas import Range
from condensed_data_nas.adapters import ray_space

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FOLDERS = (Path(nas_data.__file__).parent, *map(Path, os.environ.get("PYTHONPATH", "").split(os.pathsep)))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A local cluster of two workers that can import the modules of the tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns about its own defaults and open files
        import ray

        folder = tmp_path_factory.mktemp("ray")
        mark = folder / "killed"
        variables = {"PYTHONPATH": os.pathsep.join(map(str, FOLDERS)), "NAS_TEST_MARK": str(mark)}
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            runtime_env={"env_vars": variables},
            object_store_memory=200_000_000,
        )
        yield mark
        ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_a_killed_task_is_repeated(cluster: Path) -> None:
    """The task is started again, and every result equals that of this process."""
    from condensed_data_ray import RayExecutor

    configs = [FINE, SMALLER, TOO_DEEP, {**FINE, "depth": 1}, {**SMALLER, "depth": 1}]
    with RayExecutor() as executor:
        found = objective(nas_data.dies_once).evaluate_many(configs, executor)
    assert cluster.exists(), "no worker was killed"
    expected = objective().evaluate_many(configs)
    assert [result.config for result in found] == configs
    assert [result.failed for result in found] == [False, False, True, False, False]
    for one, other in zip(found, expected, strict=True):
        assert one.values == pytest.approx(other.values, abs=0.02)


@pytest.mark.filterwarnings("ignore")
def test_tune_with_asha(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray import tune

    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    chosen = objective(space={**SPACE, "lr": Range(0.01, 0.2, log=True)}, report_every=1)
    tuner = tune.Tuner(
        chosen.trainable(),
        param_space=chosen.param_space(),
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=6,
            reuse_actors=True,  # spares another import of torch
            scheduler=tune.schedulers.ASHAScheduler(grace_period=1, max_t=7, reduction_factor=2),
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="asha", verbose=0),
    )
    results = tuner.fit()
    assert len(results) == 6
    assert results.num_errors == 0
    lengths = {result.metrics["training_iteration"] for result in results if result.metrics}
    assert len(lengths) > 1, "ASHA stopped nothing"
    best = results.get_best_result()
    assert best.metrics is not None
    assert best.metrics["accuracy"] > 1 / 3
    assert {"lr", "width"} <= best.metrics["config"].keys()


def test_a_space_becomes_a_search_space_of_ray() -> None:
    space = ray_space({"width": (4, 8), "lr": Range(0.01, 0.1, log=True), "batch_size": Range(2, 3)})
    drawn = [{name: domain.sample() for name, domain in space.items()} for _ in range(50)]
    assert {one["width"] for one in drawn} == {4, 8}
    assert {one["batch_size"] for one in drawn} == {2, 3}
    assert all(0.01 <= one["lr"] <= 0.1 for one in drawn)
