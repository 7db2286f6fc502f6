"""Tests of the tables of published settings."""

from __future__ import annotations

import pytest

from condensed_data.core.spec import DatasetInfo
from condensed_data.data.known_datasets import KNOWN, known_info
from condensed_data.methods.recipes.published import Published, SettingsTable, most_similar

TABLE = SettingsTable(
    "table of the tests",
    ("lr", "steps", "whitening", "rate"),
    {
        ("cifar10", 1): (100.0, 50, "zca", 1e-7),
        ("cifar10", 10): (1000.0, 30, "none", 1e-5),
        ("mnist", 1): (2.0, 7, "none", 1.0),
    },
    {"lr": "geometric", "steps": "linear"},
)
COLOR = ("ant", "bee")


def value(setting: str, info: DatasetInfo) -> object:
    return Published("table of the tests", setting)(info)


@pytest.mark.parametrize(
    ("ipc", "expected"),
    [
        (1, (100.0, 50, "zca", 1e-7)),
        (10, (1000.0, 30, "none", 1e-5)),
        (50, (1000.0, 30, "none", 1e-5)),  # the nearest published row
        (3, (300.0, 46, "zca", 1e-7)),  # 10 ** 2.477, 50 - 20 * 2 / 9; log 3 < log 10 / 2
        (4, (400.0, 43, "none", 1e-5)),
    ],
)
def test_values_between_published_rows_follow_the_rule_of_the_column(ipc: int, expected: tuple[object, ...]) -> None:
    info = known_info("cifar10", ipc)
    assert tuple(value(name, info) for name in TABLE.columns) == expected


def test_the_origin_says_what_is_published() -> None:
    def origin(info: DatasetInfo) -> str:
        return Published("table of the tests", "lr").origin(info)

    assert origin(known_info("cifar10", 10)) == "published for cifar10 at ipc 10"
    assert origin(known_info("cifar10", 3)) == "between cifar10 at ipc 1 and 10"
    assert origin(known_info("cifar10", 50)) == "of cifar10 at ipc 10, the nearest published"
    other = DatasetInfo((3, 40, 40), COLOR, 10)
    assert origin(other) == "published for cifar10 at ipc 10; cifar10 is the most similar published dataset"


@pytest.mark.parametrize(
    ("shape", "classes", "expected"),
    [
        ((1, 28, 28), ("0", "1"), "mnist"),
        ((1, 28, 28), COLOR, "fashion-mnist"),
        ((3, 32, 32), ("0", "1"), "svhn"),
        ((3, 32, 32), COLOR, "cifar10"),
        ((3, 32, 32), tuple(map("n{}".format, range(120))), "cifar100"),
        ((3, 64, 64), tuple(map("n{}".format, range(200))), "tiny-imagenet"),
        ((3, 224, 224), COLOR, "imagenet-subset"),
        ((12, 1000), COLOR, "fashion-mnist"),
        ((40,), COLOR, "fashion-mnist"),
    ],
)
def test_the_most_similar_dataset(shape: tuple[int, ...], classes: tuple[str, ...], expected: str) -> None:
    assert most_similar(DatasetInfo(shape, classes, 10), KNOWN) == expected
    assert most_similar(DatasetInfo(shape, classes, 10, dataset="mnist"), KNOWN) == "mnist"
    assert most_similar(DatasetInfo(shape, classes, 10), ["cifar10"]) == "cifar10"


def test_mistakes_in_a_table_are_refused() -> None:
    with pytest.raises(ValueError, match="must have 2 values"):
        SettingsTable("bad", ("a", "b"), {("mnist", 1): (1,)})
    with pytest.raises(ValueError, match=r"rules\['a'\]='cubic'\) must be one of"):
        SettingsTable("bad", ("a",), {("mnist", 1): (1,)}, {"a": "cubic"})
    with pytest.raises(ValueError, match="setting='x'"):
        Published("table of the tests", "x")
