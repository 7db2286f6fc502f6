"""The card of a stored dataset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
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


def test_hostile_names_are_escaped(metadata: Metadata) -> None:
    name = 'evil"\n---\ntags: [x]\n# <script>|*a*'
    text = card(replace(metadata, name=name, classes=("a|b", "<b>", "c\n## d")))
    assert front(text)["pretty_name"] == f"{name} condensed by random"
    assert "<script>" not in text.split("---\n", 2)[2]
    assert not any(line.startswith("## d") for line in text.splitlines())


def test_a_recipe_without_stored_fields(metadata: Metadata) -> None:
    assert "a function without a name" in card(replace(metadata, recipe=None))
