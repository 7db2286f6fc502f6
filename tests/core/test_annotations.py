"""What an annotation requires of a value, and functions that check their arguments."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from condensed_data.core.annotations import Count, Natural, checked, parameter_annotations, requirement

if TYPE_CHECKING:
    from decimal import Decimal

ACCEPTED: list[tuple[Any, list[object]]] = [
    (int, [0, -1, 10**400]),
    (float, [0, 0.5, -1.0, 10**400]),
    (bool, [True, False]),
    (str, ["", "x"]),
    (int | None, [None, 3]),
    (Count, [1, 10**9]),
    (Natural, [0]),
    (Natural | None, [None, 0]),
    (tuple[int, ...], [(), (1,), (1, 2, 3)]),
    (tuple[float, float], [(0.9, 1)]),
    (tuple[tuple[str, float], ...], [(("labels", 1.0),)]),
    (Callable[..., Any], [len, lambda: 0, torch.nn.Linear(1, 1)]),
    (Sequence[str], [["a"], ("a", "b"), ()]),
    (Mapping[str, Any], [{}, {"a": 1}]),
    (Any, [None, 5, math.nan]),
    (str | Path, [Path("x")]),
]
REFUSED: list[tuple[Any, list[object], str]] = [
    (int, [True, 1.0, "1", None, math.nan, [1], torch.tensor(1)], "an integer"),
    (float, [True, "1", None, math.nan, math.inf, -math.inf, torch.tensor(1.0)], "a finite number"),
    (bool, [0, 1, None, "yes"], "True or False"),
    (str, [b"x", None, 5], "a string"),
    (int | None, [True, "1"], "an integer or None"),
    (Count, [0, -1], "an integer of at least 1"),
    (Count, ["1", True], "an integer of at least 1"),
    (Natural | None, [-1], "an integer of at least 0 or None"),
    (tuple[int, ...], [[1], 1, (1, "x")], "a tuple, in which every item is an integer"),
    (tuple[float, float], [(1,), (1, 2, 3), (1, math.nan), 1], "a tuple (a finite number, a finite number)"),
    (Callable[..., Any], [5, "len", None], "callable"),
    (Sequence[str], ["abc", 5, [1], {"a"}], "a sequence, in which every item is a string"),
    (Mapping[str, Any], [[("a", 1)], {1: 2}], "a mapping, in which every item is a string"),
    (Executor | None, ["dask", 5], "an Executor or None"),
]


@pytest.mark.parametrize(("annotation", "value"), [(one, value) for one, values in ACCEPTED for value in values])
def test_it_accepts(annotation: Any, value: object) -> None:
    assert requirement(value, annotation) is None


@pytest.mark.parametrize(
    ("annotation", "value", "text"), [(one, value, text) for one, values, text in REFUSED for value in values]
)
def test_it_refuses(annotation: Any, value: object, text: str) -> None:
    assert requirement(value, annotation) == text


@checked
def combine(first: int, *rest: Any, flag: bool = False, money: Decimal | None = None, **options: int) -> str:
    return f"{first} {rest} {flag} {money} {options}"


def test_a_checked_function_is_called_as_before() -> None:
    assert combine(1, "a", flag=True, other="x") == "1 ('a',) True None {'other': 'x'}"
    assert combine.__name__ == "combine"
    assert pickle.loads(pickle.dumps(combine)) is combine  # noqa: S301


def test_its_errors_name_the_function_the_argument_and_the_value() -> None:
    with pytest.raises(ValueError, match=r"^combine\(first='x'\) must be an integer\.$"):
        combine("x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^combine\(flag=None\) must be True or False\.$"):
        combine(1, flag=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^combine\(\): missing a required argument: 'first'\.$"):
        combine()  # type: ignore[call-arg]


def test_a_misspelt_argument_is_named_with_a_similar_one() -> None:
    @checked
    def scale(factor: float = 1.0) -> float:
        return factor

    with pytest.raises(TypeError, match=r"unexpected keyword argument 'facter'\. Did you mean 'factor'\?"):
        scale(facter=2)  # type: ignore[call-arg]


def test_annotations_for_type_checkers_only_are_not_checked() -> None:
    assert "money" not in parameter_annotations(combine)
    assert combine(1, money="x") == "1 () False x {}"  # type: ignore[arg-type]


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(ValueError, match="combine") as raised:
        combine("x" * 10_000)  # type: ignore[arg-type]
    assert len(str(raised.value)) < 200
