"""With `num_workers`, no function of the package reads a sample of the user's datasets in the calling process."""

from __future__ import annotations

import importlib
import inspect as python_inspect
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cli_sources
import pytest
from cli_tools import NET, SMALL
from sources import InWorkers

import condensed_data
import condensed_data_avalanche
import condensed_data_nas
import condensed_data_ray
from condensed_data import CondensedDataset, recipes
from condensed_data.cli.main import main
from condensed_data.core.device import choose_device
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect, read
from condensed_data.engine import evaluate as engine_evaluate
from condensed_data.engine.planning.cost_estimate import plan
from condensed_data.evaluation import baselines, dd_ranking, diversity, label_switching, real_data
from condensed_data.evaluation.privacy.measure import measure
from condensed_data.networks import ConvNet
from condensed_data.training import trained_networks
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.protocols import quick
from condensed_data_avalanche import CondensedBuffer
from condensed_data_avalanche.experience import read_experience

TRAIN, TEST = cli_sources.tiny("train"), cli_sources.tiny("test")
GUARDED, GUARDED_TEST = InWorkers(TRAIN), InWorkers(TEST)
SHORT = replace(quick(), epochs=1)
NETWORK = ConvNet(width=4, depth=1)
QUIET: dict[str, Any] = {"progress": False}
READ: dict[str, Any] = {"num_workers": 2, "progress": False}


def small() -> CondensedDataset:
    recipe = replace(recipes.random(2), training=SHORT)
    return CondensedDataset(TRAIN, recipe, cache=False, progress=False)


def ordered() -> CondensedDataset:
    recipe = recipes.dd(ipc=1, steps=1, epochs=1, iterations=1, batch=8, network=NETWORK, relabel=((0, 1),))
    return CondensedDataset(TRAIN, recipe, cache=False, progress=False)


def by_mean(sample: Any, label: int) -> int:
    return int(sample.mean() > 0.5)


def build(tmp_path: Path) -> None:
    CondensedDataset(GUARDED, recipes.random(2), cache=tmp_path / "cache", groups=by_mean, **READ)
    CondensedDataset(GUARDED, recipes.random(2), cache=tmp_path / "cache", groups=by_mean, **READ)


def build_by_fingerprint(tmp_path: Path) -> None:
    for ipc in (1, 2, 2):
        CondensedDataset(GUARDED, recipes.random(ipc), cache=tmp_path / "cache", fingerprint="mine", **READ)


def compare(tmp_path: Path) -> None:
    training: dict[str, Any] = {"network": "mlp", "runs": 1}
    baselines.compare(small(), GUARDED, GUARDED_TEST, **training, **READ)


# Every function with an argument `num_workers`, by the name of its module and its own.
DOORS: dict[str, Callable[[Path], object]] = {
    "dataset.CondensedDataset": build,
    "dataset.CondensedDataset.standardized": lambda _: small().standardized("test", GUARDED_TEST, **READ),
    "data.source.inspect": lambda _: read(inspect(GUARDED, 2), False),
    "engine.evaluate.evaluate": lambda _: small().evaluate(GUARDED_TEST, NETWORK, 1, **READ),
    "engine.evaluate.standardized": lambda _: engine_evaluate.standardized(small().metadata, "test", GUARDED, 2, False),
    "evaluation.baselines.check_splits": lambda _: baselines.check_splits(GUARDED, GUARDED_TEST, NET, 2),
    "evaluation.baselines.compare": compare,
    "evaluation.dd_ranking.rank": lambda _: dd_ranking.rank(
        small(), GUARDED, GUARDED_TEST, network=NETWORK, runs=1, **READ
    ),
    "evaluation.diversity.diversity": lambda _: diversity.diversity(small(), GUARDED, features="raw", **READ),
    "evaluation.label_switching.attack": lambda _: label_switching.attack(ordered(), GUARDED_TEST, runs=1, **READ),
    "evaluation.privacy.measure.measure": lambda _: measure(small(), GUARDED, GUARDED_TEST, networks_trained=0, **READ),
    "evaluation.real_data.in_memory": lambda _: real_data.in_memory(GUARDED, **READ),
    "training.trained_networks.pretrain": lambda _: trained_networks.pretrain(
        GUARDED, NETWORK, Pretraining(epochs=1, networks=1), **READ
    ),
    "condensed_data_avalanche.experience.read_experience": lambda _: read_experience(GUARDED, 2),
}
# They take the number from a `Source`, from a strategy or from the command line.
OTHERS: dict[str, Callable[[Path], object]] = {
    "fingerprint=": build_by_fingerprint,
    "groups=": lambda _: CondensedDataset(GUARDED, recipes.random(2), cache=False, groups="halves", **READ),
    "plan": lambda _: plan(
        inspect(GUARDED, 1), recipes.dm(ipc=1, network=NETWORK, iterations=9), choose_device("cpu"), "fp32"
    ),
    "CondensedBuffer": lambda _: CondensedBuffer(6, recipe=None)._add_data(GUARDED, None, 2, False),
    "cli build": lambda path: _command(
        "build", "cli_sources:in_workers", *SMALL, "--network", NET, "--out", str(path / "out"), "--workers", "2"
    ),
    "cli plan": lambda _: _command(
        "plan", "cli_sources:in_workers", "--set", f"network={NET}", "--workers", "1", "--recipe", "dm", "--ipc", "1"
    ),
    "cli clusters": lambda path: _command(
        "clusters",
        *("cli_sources:in_workers", "--k", "2", "--features", "raw", "--workers", "1", "--out", str(path / "k.png")),
    ),
}


def _command(*words: str) -> None:
    assert main([*words]) == 0


def test_every_function_with_workers_is_in_the_table() -> None:
    assert found_doors() == set(DOORS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "cli build")) for name in (*DOORS, *OTHERS)]
)
def test_no_sample_is_read_in_this_process(name: str, tmp_path: Path) -> None:
    (DOORS | OTHERS)[name](tmp_path)


def test_the_guard_notices() -> None:
    with pytest.raises(SourceError, match="read in the calling process"):
        small().evaluate(GUARDED_TEST, NETWORK, 1, **QUIET)


def found_doors() -> set[str]:
    """Public functions and methods, and constructors of public classes, that have an argument `num_workers`."""
    found = set()
    for package in (condensed_data, condensed_data_avalanche, condensed_data_nas, condensed_data_ray):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue
            for name, value in vars(importlib.import_module(module.name)).items():
                if name[0] != "_" and getattr(value, "__module__", None) == module.name:
                    found |= {f"{module.name}.{inner}".removeprefix("condensed_data.") for inner in _with(name, value)}
    # `Source` holds the number, and two functions start the workers
    return found - {"data.source.Source", "data.batched_reads.read_batches", "data.batched_reads.call_in_worker"}


def _with(name: str, value: Any) -> list[str]:
    functions = {name: value}
    if python_inspect.isclass(value):
        functions |= {f"{name}.{inner}": method for inner, method in vars(value).items() if inner[0] != "_"}
    return [inner for inner, function in functions.items() if _takes_workers(function)]


def _takes_workers(function: Any) -> bool:
    try:
        parameters = python_inspect.signature(getattr(function, "__func__", function)).parameters
    except (TypeError, ValueError):
        return False
    return "num_workers" in parameters
