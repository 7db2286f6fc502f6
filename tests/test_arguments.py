"""Every argument of every public function is checked by name and value, before the source is read or a file written."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from public_functions import annotated, is_checked, public_functions
from torch.utils.data import Dataset, TensorDataset

from condensed_data import CondensedDataset, condense_tensors, recipes
from condensed_data.core.annotations import requirement
from condensed_data.core.spec import registered_parts
from condensed_data.networks import ConvNet

BAD = (None, 5, -1, 0, True, 0.5, math.nan, math.inf, "x", "", [], (), {}, [1], torch.tensor(3), object(), int)
# called by a host library with values of its own, or made by this package
EXEMPT = {
    *(
        f"{name}.{method}"
        for name in ("Callback", "Logger", "ProgressBar")
        for method in ("on_start", "on_iteration", "on_end")
    ),
    *(f"{name}.__init__" for name in ("Cascade", "Evaluation", "Progress", "RankReport", "Result")),
    *("Range.__init__", "Stage.__init__"),  # dataclasses that check their fields
    *("CondensedBuffer.get_group_lengths", "CondensedBuffer.load_state_dict", "CondensedBuffer.resize"),
    *("Evaluation.from_json", "Result.from_json", "HubMixin.from_result", "Range.at"),
    *("RayExecutor.shutdown", "RayExecutor.submit", "ReducedInputs.reduce_resolution"),
}
FUNCTIONS = {name: one for name, one in public_functions().items() if annotated(one) and name not in EXEMPT}
TINY = TensorDataset(torch.arange(24 * 64).view(24, 1, 8, 8) / 1536, torch.arange(24) % 3)


class Unread(Dataset[Any]):
    """A source that must not be read."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("the source was read")


def accepts(annotation: Any, value: object) -> bool:
    try:
        return requirement(value, annotation) is None
    except ValueError:  # an unknown name
        return False


def placeholder(annotation: Any) -> Any:
    """Something that the annotation accepts."""
    if inspect.isclass(annotation) and annotation not in (int, float, str, bool):
        return Mock() if getattr(annotation, "_is_protocol", False) else Mock(spec=annotation)
    return next(one for one in (1, "x", "convnet", (), (1,), [], {}, recipes.dm()) if accepts(annotation, one))


def required(function: Callable[..., Any]) -> dict[str, Any]:
    """Placeholders for the arguments without a default."""
    kinds, parameters = annotated(function), inspect.signature(function).parameters.values()
    needed = [
        one for one in parameters if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    return {one.name: placeholder(kinds[one.name]) if one.name in kinds else Unread() for one in needed}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_public_function_refuses_values_of_other_types(name: str) -> None:
    function = FUNCTIONS[name]
    assert is_checked(function), "decorate it with core.annotations.checked"
    for argument, kind in annotated(function).items():
        for value in BAD:
            if not accepts(kind, value):
                with pytest.raises(ValueError, match=rf"\({argument}=.*must be|{argument}.*ConvNet|Unknown {argument}"):
                    function(**required(function) | {argument: value})


def passes_on(function: Callable[..., Any]) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", sorted(name for name, one in FUNCTIONS.items() if not passes_on(one)))
def test_misspelt_arguments_are_named_with_a_similar_one(name: str) -> None:
    function = FUNCTIONS[name]
    longest = max(annotated(function), key=len)
    with pytest.raises(TypeError, match=rf"{longest}z.*Did you mean '{longest}'\?"):
        function(**required(function) | {f"{longest}z": 1})


# without those that other tests of this process define
PARTS = {name: part for name, part in registered_parts().items() if part.__module__.startswith("condensed_data")}


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_field_of_every_part_is_checked(name: str) -> None:
    part = PARTS[name]
    kinds = annotated(part)
    needed = {one: value for one, value in required(part).items() if not isinstance(value, Unread)}
    for field, kind in kinds.items():
        for value in BAD:
            if not accepts(kind, value):
                with pytest.raises(ValueError, match=rf"{name}\({field}=|features=|network"):
                    part(**needed | {field: value})


@pytest.mark.parametrize("name", sorted(name for name, part in PARTS.items() if not required(part)))
def test_no_number_of_a_part_may_be_negative(name: str) -> None:
    part = PARTS[name]
    for field, kind in annotated(part).items():
        if accepts(kind, 1) and (name, field) != ("Centralization", "beta"):
            with pytest.raises(ValueError, match=rf"{field}=-1|GivenWeights"):
                part(**{field: -1})


REFUSED: list[dict[str, Any]] = [
    {"recipe": "dmm"},
    {"ipc": 0},
    {"ipc": -3},
    {"memory": 0},
    {"memory": -5},
    {"memory": "2XB"},
    {"memory": ""},
    {"cache": ""},
    {"fingerprint": ""},
    {"seed": -1},
    {"num_workers": -1},
    {"device": "abacus"},
    {"precision": "fp8"},
    {"shard": "3"},
    {"shard": "9/8"},
    {"hub": ""},
    {"push": True},
    {"soft": True},
    {"network": "convnit"},
    {"network": ConvNet()(3, (1, 8, 8))},
    {"iterations": -1},
    {"iterations": "x"},
    {"optimizer__lr": "x"},
    {"optimizer__lr": math.nan},
    {"optimizer__momentum": 1.5},
    {"lr": -1},
    {"whitening": "pca"},
    {"recipe": "random", "iterations": 2},
    {"recipe": recipes.dm(2), "ipc": 3},
    {"groups": 5},
    {"callbacks": [int]},
    {"executor": "dask"},
    {"transform": 5},
    {"cache": 5},
    {"fingerprint": 5},
]


@pytest.mark.parametrize("wrong", REFUSED, ids=str)
def test_nothing_is_read_or_written_for_a_wrong_argument(
    wrong: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError)) as raised:
        CondensedDataset(Unread(), **{"cache": tmp_path / "cache", **wrong})
    name = next(reversed(wrong)).rpartition("__")[2]
    assert name in str(raised.value) or {"hub": "repo_id", "push": "hub="}.get(name, "module") in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "similar"),
    [
        ("itertions", "iterations"),
        ("devise", "device"),
        ("optimizer__lrr", "optimizer__lr"),
        ("targettransform", "target_transform"),
        ("batchs", "batch"),
    ],
)
def test_unknown_arguments_of_a_dataset_are_named_with_a_similar_one(wrong: str, similar: str) -> None:
    for recipe in ("dm", "bdm", recipes.dm()):
        if (recipe, similar) != ("bdm", "batch"):  # it passes unknown arguments on to its base
            with pytest.raises(TypeError, match=rf"{wrong}.*Did you mean '{similar}'\?"):
                CondensedDataset(Unread(), recipe, **{wrong: 1})


def small(recipe: Any, **options: Any) -> CondensedDataset:
    return CondensedDataset(TINY, recipe, cache=False, progress=False, device="cpu", **options)


def test_options_of_a_recipe_pass_through() -> None:
    net = ConvNet(width=4, depth=1)
    by_name = small("dm", ipc=2, iterations=2, network=net, optimizer__lr=0.5, batch=4)
    given = recipes.dm(2, iterations=2, network=net, batch=4)
    by_recipe = small(given, optimizer__lr=0.5)
    by_set = small(given.set(optimizer__lr=0.5))
    for other in (by_recipe, by_set):
        assert torch.equal(by_name.images, other.images)
    passed_on = small("debiased", ipc=2, base="dm", iterations=1, network=net, groups=[i // 3 % 2 for i in range(24)])
    assert passed_on.recipe.name == "debiased_dm"


def test_memory_takes_sizes_as_text() -> None:
    assert torch.equal(small("random", ipc=2, memory="1 GB").images, small("random", ipc=2, memory=10**9).images)


def test_a_field_of_the_protocol_is_no_argument_of_evaluate() -> None:
    with pytest.raises(TypeError, match=r"'epochs'.*training protocol.*replace\(dataset\.training, epochs=\.\.\.\)"):
        small("random", ipc=2).evaluate(Unread(), epochs=3)  # type: ignore[call-arg]


def test_a_network_needs_an_output_for_every_class() -> None:
    def two(classes: int, shape: tuple[int, ...]) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))

    for name in ("dc", "mtt", "dm"):
        with pytest.raises(ValueError, match=r"network .*two has 2 outputs, but there are 3 classes"):
            small(name, ipc=2, iterations=1, network=two)


def test_steps_of_the_samples_and_of_the_training_fit() -> None:
    with pytest.raises(ValueError, match=r"WithSteps\(steps=3\) does not fit TrainingSteps\(steps=1, epochs=1\)"):
        small(recipes.dd(ipc=1).set(epochs=1))


def test_plain_tensors_and_class_names_fit_each_other() -> None:
    samples, labels = TINY.tensors
    with pytest.raises(ValueError, match=r"classes=\['a'\]\) has 1 names, but labels go up to 2"):
        condense_tensors(samples, labels, recipes.random(2), classes=["a"])
    for wrong in ((samples[0, 0, 0, 0], labels), (samples, labels[:5]), (samples, labels[0]), (samples[0], labels)):
        with pytest.raises(ValueError, match=r"dense tensor|Give one label per sample"):
            condense_tensors(*wrong, recipes.random(2))
