"""The card of a stored dataset."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hostile_text import HOSTILE, has_controls
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Evaluation, Training, recipes
from condensed_data.storage.dataset_card import card
from condensed_data.storage.metadata import Metadata


@pytest.fixture
def metadata(tiny_images: TensorDataset) -> Metadata:
    return CondensedDataset(tiny_images, recipes.random(ipc=2), cache=False, progress=False).metadata


def front(text: str) -> dict[str, Any]:
    """The YAML between the two lines of dashes."""
    _, head, _ = text.split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(head)
    return loaded


def test_yaml_header_has_the_fields_of_the_hub(metadata: Metadata) -> None:
    fields = front(card(metadata))
    assert fields["pretty_name"] == "TensorDataset condensed by random"
    assert fields["task_categories"] == ["image-classification"]
    assert fields["size_categories"] == ["n<1K"]
    assert {"condensed-data", "dataset-distillation", "random", "ipc-2"} <= set(fields["tags"])
    (config,) = fields["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]


def test_body_describes_the_dataset_and_its_use(metadata: Metadata) -> None:
    text = card(metadata)
    assert "6 synthetic samples, 2 for each of 3 classes" in text
    assert "the 60 training samples" in text
    assert "CondensedDataset.load(" in text
    assert f"{metadata.space.mean[0]:.6g}" in text
    assert "| epochs | 1000 |" in text
    assert "Not measured" in text


def test_evaluations_name_their_protocol(metadata: Metadata) -> None:
    measured = Evaluation("convnet", Training(name="quick"), (0.5, 0.7), (0.6, 0.6, None), (0.4, 0.4))
    text = card(replace(metadata, evaluations=(measured,)))
    assert "| convnet | quick protocol | 2 | 60.0 % ± 10.0 | 40.0 % ± 0.0 |" in text
    assert "Not measured" not in text


def test_the_same_metadata_gives_the_same_card(metadata: Metadata) -> None:
    assert card(metadata) == card(replace(metadata, seconds=12.0))


def test_signals_have_no_task_category(metadata: Metadata) -> None:
    text = card(replace(metadata, kind=replace(metadata.kind, shape=(1, 144))))
    assert "task_categories" not in front(text)


@pytest.mark.parametrize(("classes", "expected"), [(500, "1K<n<10K"), (60_000, "100K<n<1M"), (500_000, "n>1M")])
def test_sizes(metadata: Metadata, classes: int, expected: str) -> None:
    many = replace(metadata, samples=2 * classes)
    assert front(card(many))["size_categories"] == [expected]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_escaped(name: str, metadata: Metadata) -> None:
    """They change neither the lines nor the header of a card, wherever they stand."""
    measured = Evaluation(name, Training(name=name), (0.5,), (0.6, 0.6, None), (0.4,))
    texts = []
    for value in (name, "harmless"):
        named = replace(metadata, name=value, recipe_name=value, classes=(value, value + "2", value + "3"))
        named = replace(named, environment={value: value}, recipe={"part": value, "x": [value]})
        evaluation = replace(measured, network=value, training=Training(name=value))
        named = replace(named, evaluations=(evaluation,), baselines=((value, evaluation),))
        texts.append(card(named))
        assert f"{value[:20]}" in repr(front(texts[-1])["pretty_name"]) or value == name
    hostile, harmless = texts
    assert not has_controls(hostile.replace("\n", ""))
    assert hostile.count("\n") == harmless.count("\n")
    assert front(hostile).keys() == front(harmless).keys()
    assert len(front(hostile)["pretty_name"]) <= 200
    headings = [line for line in hostile.splitlines() if line.startswith("#")]
    assert len(headings) == len([line for line in harmless.splitlines() if line.startswith("#")])
    body, marks = hostile.split("---\n", 2)[2], re.compile(r"(?<!\\)<(?!/?(details|summary)>)")
    assert not marks.search(body.replace("\\\\", ""))


def test_a_recipe_without_stored_fields(metadata: Metadata) -> None:
    assert "a function without a name" in card(replace(metadata, recipe=None))
