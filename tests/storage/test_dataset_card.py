"""The card of a stored set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Evaluation, Training, recipes
from condensed_data.storage.dataset_card import card
from condensed_data.storage.metadata import Record


@pytest.fixture
def record(tiny_images: TensorDataset) -> Record:
    return CondensedDataset(tiny_images, recipes.random(ipc=2), cache=False, progress=False).record


def front(text: str) -> dict[str, Any]:
    """The YAML between the two lines of dashes."""
    _, head, _ = text.split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(head)
    return loaded


def test_front_matter_is_what_the_hub_reads(record: Record) -> None:
    fields = front(card(record))
    assert fields["pretty_name"] == "TensorDataset condensed by random"
    assert fields["task_categories"] == ["image-classification"]
    assert fields["size_categories"] == ["n<1K"]
    assert {"condensed-data", "dataset-distillation", "random", "ipc-2"} <= set(fields["tags"])
    (config,) = fields["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]


def test_body_says_what_it_is_and_how_to_use_it(record: Record) -> None:
    text = card(record)
    assert "6 synthetic samples, 2 for each of 3 classes" in text
    assert "the 60 training samples" in text
    assert "CondensedDataset.load(" in text
    assert f"{record.space.mean[0]:.6g}" in text
    assert "| epochs | 1000 |" in text
    assert "Not measured" in text


def test_evaluations_stand_beside_their_protocol(record: Record) -> None:
    measured = Evaluation("convnet", Training(name="quick"), (0.5, 0.7), (0.6, 0.6, None), (0.4, 0.4))
    text = card(replace(record, evaluations=(measured,)))
    assert "| convnet | quick protocol | 2 | 60.0 % ± 10.0 | 40.0 % ± 0.0 |" in text
    assert "Not measured" not in text


def test_the_same_record_gives_the_same_card(record: Record) -> None:
    assert card(record) == card(replace(record, seconds=12.0))


def test_signals_get_no_pictures(record: Record) -> None:
    text = card(replace(record, kind=replace(record.kind, shape=(1, 144))))
    assert "task_categories" not in front(text)


@pytest.mark.parametrize(
    ("classes", "expected"), [(500, "1K<n<10K"), (60_000, "100K<n<1M"), (500_000, "n>1M")]
)
def test_sizes(record: Record, classes: int, expected: str) -> None:
    many = replace(record, samples=2 * classes)
    assert front(card(many))["size_categories"] == [expected]


def test_hostile_names_stay_text(record: Record) -> None:
    name = 'evil"\n---\ntags: [x]\n# <script>|*a*'
    text = card(replace(record, name=name, classes=("a|b", "<b>", "c\n## d")))
    assert front(text)["pretty_name"] == f"{name} condensed by random"
    assert "<script>" not in text.split("---\n", 2)[2]
    assert not any(line.startswith("## d") for line in text.splitlines())


def test_a_recipe_that_cannot_be_stored(record: Record) -> None:
    assert "a function without a name" in card(replace(record, recipe=None))
