"""The caller's settings of torch and NumPy change no result of any public function, and are restored.

A table of settings meets a table of doors. A new public function that is in neither `DOORS` nor `EXEMPT` fails a test.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from typing import Any

import exam
import pytest
from caller_settings import SETTINGS, record, settings
from door_table import DOORS, State, bits

import condensed_data
import condensed_data.engine.planning
import condensed_data.evaluation
import condensed_data_avalanche
import condensed_data_nas
import condensed_data_ray
from condensed_data import CondensedDataset

pytestmark = pytest.mark.filterwarnings("ignore:ipc=13")  # of a factorized dataset: its budget, in samples

# pattern -> why it needs no entry in the table
EXEMPT = {
    "Callback.*": "called by a build, whose settings hold",
    "CSVLogger.*": "called by a build, whose settings hold",
    "History.*": "called by a build, whose settings hold",
    "JSONLLogger.*": "called by a build, whose settings hold",
    "ProgressBar.*": "called by a build, whose settings hold",
    "TensorBoardLogger.*": "called by a build, whose settings hold",
    "Progress.*": "numbers",
    "Evaluation.*": "numbers",
    "NamedCallable.*": "calls a function of the caller's",
    "Optimizer.*": "a specification, used inside a build",
    "Term.*": "a specification",
    "Training.*": "a specification, used inside evaluations",
    "CondensedDataset.from_hub": "read after CondensedDataset.push_to_hub",
    "CondensedDataset.add_*": "record numbers",
    "baselines.Comparison*": "numbers",
    "dd_ranking.Ranking.*": "numbers",
    "dd_ranking_scores.*": "numbers",
    "diversity.DiversityReport.*": "numbers",
    "label_switching.LabelSwitch.*": "numbers",
    "label_switching.SwitchRates.*": "numbers",
    "membership_inference.MembershipInference.*": "numbers",
    "report.Privacy.chance": "numbers",
    "cost_estimate.Plan.*": "numbers",
    "iteration_cost.*": "a part of cost_estimate.plan",
    "pretraining_cost.*": "a part of cost_estimate.plan",
    "source_sample.*": "a part of cost_estimate.plan",
    "CondensedBuffer.get_group_lengths": "integers",
    "CondensedBuffer.memory_bytes": "integers",
    "CondensedBuffer.samples_per_class": "integers",
    "CondensedBuffer.seen_classes": "integers",
    "CondensedReplay": "an Avalanche strategy, whose memory is a CondensedBuffer",
    "CondensedGDumb": "an Avalanche strategy, whose memory is a CondensedBuffer",
    "Condensed*Plugin*": "an Avalanche plugin, whose memory is a CondensedBuffer",
    "ReducedInputs.before_training": "checks plugins",
    "Cascade.*": "numbers",
    "Range.*": "numbers",
    "RankReport.__getitem__": "numbers",
    "RankReport.to_csv": "numbers",
    "Result.*": "numbers",
    "Stage.*": "a specification",
    "convnet_space": "text and integers",
    "RayExecutor.*": "runs functions of the caller's; those of this package enter by themselves",
}
_SPECIAL = ("__call__", "__str__", "__getitem__", "__len__", "_repr_html_")
# all settings that can be met together; the rest has tests of its own
TOGETHER = {
    "of this thread": (
        "inference_mode",
        "autocast to bfloat16",
        "hooks that halve saved tensors",
        "NumPy that raises",
        "flushed subnormals",
        "one thread in backward passes",
    ),
    "of the process": (
        "default dtype float64",
        "deterministic algorithms",
        "matmul precision medium",
        "no oneDNN",
        "no flash attention",
        "no fast path of attention",
        "repeated warnings",
        "anomaly mode",
    ),
    "modes": ("default device", "mode of functions", "mode of operations"),
}
INTERCEPTING = ("mode of functions", "mode of operations", "fake tensors")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, hub_for_all: Any) -> State:
    return State(tmp_path_factory.mktemp("doors"), hub_for_all.token("alice"))


@pytest.fixture(scope="module")
def plain(state: State) -> Callable[[str], Any]:
    """What a door returns without settings of the caller's."""
    return functools.cache(lambda door: bits(DOORS[door](state)))


def methods(name: str, cls: type) -> Iterator[str]:
    """The public methods and properties of a class that are defined in this project."""
    for base in cls.__mro__:
        for method, value in vars(base).items() if base.__module__.startswith("condensed_data") else ():
            kind = isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)
            if kind and (method in _SPECIAL or not method.startswith("_")):
                yield f"{name}.{method}"


def public_names() -> set[str]:
    """Every public function, method and property."""
    found: set[str] = set()
    members = [(name, getattr(package, name)) for package in PACKAGES for name in package.__all__]
    for folder in (condensed_data.evaluation, condensed_data.engine.planning):
        for module in pkgutil.walk_packages(folder.__path__, f"{folder.__name__}."):
            loaded = importlib.import_module(module.name)
            own = [one for one in vars(loaded).items() if getattr(one[1], "__module__", "") == module.name]
            members += [(f"{module.name.split('.')[-1]}.{name}", value) for name, value in own if name[0] != "_"]
    for name, value in members:
        if isinstance(value, type):
            found |= set(methods(name, value)) if not issubclass(value, BaseException) else set()
        elif inspect.isfunction(value) or inspect.ismodule(value):
            found.add(name)
    return found


PACKAGES = (condensed_data, condensed_data_avalanche, condensed_data_nas, condensed_data_ray)


def test_every_public_function_is_a_door_or_exempt() -> None:
    missing = [name for name in sorted(public_names() - DOORS.keys()) if not any(fnmatch(name, one) for one in EXEMPT)]
    assert not missing, f"add to DOORS in tests/support/door_table.py, or to EXEMPT with a reason: {missing}"


@pytest.mark.parametrize("together", TOGETHER)
@pytest.mark.parametrize("door", [name for name in DOORS if name != "baselines.compare"])  # takes seconds
def test_no_door_depends_on_the_settings(door: str, together: str, state: State, plain: Callable[[str], Any]) -> None:
    check(door, TOGETHER[together], state, plain)


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_changes_a_build(setting: str, state: State, plain: Callable[[str], Any]) -> None:
    for door in ("CondensedDataset", "CondensedDataset.evaluate", "CondensedDataset.__getitem__"):
        check(door, (setting,), state, plain)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("door", DOORS)
def test_no_door_depends_on_any_setting(door: str, setting: str, state: State, plain: Callable[[str], Any]) -> None:
    check(door, (setting,), state, plain)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*exam.LEARNING, *exam.CHOOSING])
def test_no_recipe_depends_on_the_settings(name: str, state: State) -> None:
    recipe = (exam.LEARNING | exam.CHOOSING)[name]()
    options: dict[str, Any] = {"cache": False, "progress": False, "device": "cpu", "precision": "fp32"}
    plain = CondensedDataset(state.train, recipe, **options)
    for names in TOGETHER.values():
        with settings(*names):
            found = CondensedDataset(state.train, recipe, **options)
        assert bits([found.images, found.labels]) == bits([plain.images, plain.labels]), names


def check(door: str, names: tuple[str, ...], state: State, plain: Callable[[str], Any]) -> None:
    if door == "CondensedDataset.__getitem__":
        # indexing is a part of the caller's program: what intercepts the one is meant to intercept the other
        names = tuple(name for name in names if name not in INTERCEPTING)
    expected = plain(door)
    with settings(*names):
        before = record()
        found = DOORS[door](state)
        after = record()
    assert after == before
    assert bits(found) == expected
