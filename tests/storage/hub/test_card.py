"""README.md of a repository, its paths, and valid config names; without a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import yaml
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Evaluation, Training, recipes
from condensed_data.storage.artifact import read_manifest
from condensed_data.storage.hub import layout, repo_card
from condensed_data.storage.result import CondensationResult, with_baselines, with_evaluation, with_soft_labels


def result(ipc: int = 2, samples: torch.Tensor | None = None, classes: Any = None) -> CondensationResult:
    rows = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0)) if samples is None else samples
    source = TensorDataset(rows, torch.arange(3).repeat_interleave(len(rows) // 3))
    made = CondensedDataset(source, recipes.random(ipc=ipc), cache=False, progress=False).result
    return replace(made, metadata=replace(made.metadata, classes=classes or made.metadata.classes))


def manifest(made: CondensationResult, folder: Path) -> dict[str, Any]:
    made.save(folder)
    return read_manifest(folder)


def head(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text.split("---\n", 2)[1])
    return loaded


@pytest.fixture
def two(tmp_path: Path) -> dict[str, Any]:
    """Manifests of a default dataset and another one."""
    return {"ipc3": manifest(result(3), tmp_path / "b"), "default": manifest(result(2), tmp_path / "a")}


def test_one_dataset(two: dict[str, Any]) -> None:
    text = repo_card.render("alice/set", {"default": two["default"]}, None, "mit")
    fields = head(text)
    assert fields["license"] == "mit"
    assert fields["pretty_name"] == "TensorDataset condensed by random"
    assert 'CondensedDataset.from_hub("alice/set")' in text
    assert "![samples](grid.png)" in text
    assert "# Condensed datasets" not in text


def test_several_datasets_are_configs_of_one_card(two: dict[str, Any]) -> None:
    text = repo_card.render("alice/set", two, None, None)
    fields = head(text)
    assert [config["config_name"] for config in fields["configs"]] == ["default", "ipc3"]
    assert fields["configs"][1]["data_files"] == [{"split": "train", "path": "ipc3/data/train-*.parquet"}]
    assert [info["splits"][0]["num_examples"] for info in fields["dataset_info"]] == [6, 9]
    assert {"ipc-2", "ipc-3", "random", "source-tensordataset"} <= set(fields["tags"])
    assert 'CondensedDataset.from_hub("alice/set", config_name="ipc3")' in text
    assert "![samples](ipc3/grid.png)" in text
    assert "| ipc3 | TensorDataset | random | 3 | 9 |" in text
    assert "\n## TensorDataset, condensed (`ipc3`)\n" in text


def test_rendering_again_changes_nothing(two: dict[str, Any]) -> None:
    once = repo_card.render("alice/set", two, None, "mit")
    assert repo_card.render("alice/set", two, once, None) == once
    assert repo_card.render("alice/set", dict(reversed(two.items())), once, "mit") == once


def test_the_owners_text_is_kept(two: dict[str, Any]) -> None:
    theirs = {"config_name": "raw", "data_files": "raw/*.parquet"}
    text = repo_card.render("alice/set", {"default": two["default"]}, None, "mit")
    fields = {
        **head(text),
        "pretty_name": "Small clothes",
        "tags": [*head(text)["tags"], "clothes", "ipc-77", "dm"],
        "configs": [*head(text)["configs"], {**theirs, "default": True}],
        "language": ["en"],
    }
    _, _, body = text.split("---\n", 2)
    edited = f"---\n{yaml.safe_dump(fields)}---\nMine, above.\n{body}\nMine, below.\n"
    found = repo_card.render("alice/set", two, edited, None)
    assert "Mine, above." in found
    assert found.rstrip().endswith("Mine, below.")
    new = head(found)
    assert (new["pretty_name"], new["license"], new["language"]) == ("Small clothes", "mit", ["en"])
    assert "clothes" in new["tags"]
    assert {"ipc-77", "dm"}.isdisjoint(new["tags"])  # generated tags of removed datasets
    assert theirs in new["configs"]  # without "default", which is another config
    assert len(new["configs"]) == 3


def test_a_removed_dataset_leaves_the_card(two: dict[str, Any]) -> None:
    both = repo_card.render("alice/set", two, None, None)
    fields = head(repo_card.render("alice/set", {"ipc3": two["ipc3"]}, both, None))
    assert [config["config_name"] for config in fields["configs"]] == ["ipc3"]
    assert [info["config_name"] for info in fields["dataset_info"]] == ["ipc3"]


@pytest.mark.parametrize(
    ("yaml_head", "reason"),
    [
        ("a: &x [1]\nb: *x\n", "alias"),
        ("a: " + "[" * 40 + "]" * 40 + "\n", "too deeply nested"),
        ("a: [1\n", "expected"),
        ("a: !!python/object/apply:os.system ['true']\n", "python/object"),
    ],
)
def test_an_unreadable_yaml_header_is_refused(two: dict[str, Any], yaml_head: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)README.md in alice/set.*{reason}.*Correct it"):
        repo_card.render("alice/set", two, f"---\n{yaml_head}---\n# Mine\n", None)


def test_an_alias_bomb_costs_nothing(two: dict[str, Any]) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    with pytest.raises(ValueError, match="alias"):
        repo_card.render("alice/set", two, f"---\n{bomb}---\n", None)


@pytest.mark.parametrize("name", ["MIT", "", "a b", "mit\nx: y", "x" * 99])
def test_licenses_are_identifiers(two: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match="is not a license identifier of the Hub"):
        repo_card.render("alice/set", two, None, name)


def test_names_of_any_alphabet_survive_yaml(tmp_path: Path) -> None:
    names = ('a"b\\', "\U0001f600 щ", "line\nend\x7f\x85\u2028:")
    made = manifest(result(classes=names), tmp_path / "set")
    fields = head(repo_card.render("alice/set", {"default": made}, None, None))
    label = fields["dataset_info"][0]["features"][1]["dtype"]["class_label"]["names"]
    assert tuple(label.values()) == names


@pytest.mark.parametrize("shape", [(7,), (2, 16), (2, 8, 8)])
def test_datasets_reads_numbers_of_other_samples(tmp_path: Path, shape: tuple[int, ...]) -> None:
    made = result(samples=torch.rand(30, *shape, generator=torch.Generator().manual_seed(1)))
    home = tmp_path / "repository"
    sealed = manifest(made, home)
    assert "preview_range" not in sealed
    (home / "README.md").write_text(repo_card.render("alice/set", {"default": sealed}, None, None))
    loaded = datasets.load_dataset(str(home), split="train", cache_dir=str(tmp_path / "cache"))
    assert torch.equal(torch.tensor(loaded["sample"][:]), made.images)
    assert loaded["label"][:] == made.labels.tolist()
    (info,) = head(repo_card.render("alice/set", {"default": sealed}, None, None))["dataset_info"]
    assert datasets.Features._from_yaml_list(info["features"]) == loaded.features


@pytest.mark.parametrize("kind", ["probs", "scores"])
def test_datasets_reads_soft_labels(tmp_path: Path, kind: str) -> None:
    hard = result()
    made = with_soft_labels(hard, torch.eye(3)[hard.labels] - (0.25 if kind == "scores" else 0), kind)
    sealed = manifest(made, tmp_path / "repository")
    card = repo_card.render("alice/set", {"default": sealed}, None, None)
    (tmp_path / "repository" / "README.md").write_text(card)
    loaded = datasets.load_dataset(str(tmp_path / "repository"), split="train", cache_dir=str(tmp_path / "cache"))
    assert torch.equal(torch.tensor(loaded["soft_label"][:]), made.labels)
    assert datasets.Features._from_yaml_list(head(card)["dataset_info"][0]["features"]) == loaded.features


def test_baselines_are_in_the_table(tmp_path: Path) -> None:
    measured = Evaluation("convnet", Training(name="quick"), (0.5, 0.7), (0.6, None, 0.6))
    made = with_evaluation(result(), measured)
    random, whole = (replace(measured, accuracies=(0.25, 0.25)), replace(measured, accuracies=(0.875, 0.875)))
    made = with_baselines(made, [("random", measured)])
    made = with_baselines(made, [("random", random), ("whole set", whole)])  # measured again
    made.save(tmp_path)
    assert [name for name, _ in CondensationResult.load(tmp_path).metadata.baselines] == ["random", "whole set"]
    text = repo_card.render("alice/set", {"default": read_manifest(tmp_path)}, None, None)
    for row in (
        "| this dataset | convnet | quick protocol | 2 | 60.0 % ± 10.0 |",
        "| random real samples (same number) | convnet | quick protocol | 2 | 25.0 % ± 0.0 |",
        "| the full real dataset | convnet | quick protocol | 2 | 87.5 % ± 0.0 |",
    ):
        assert row in text


def test_datasets_reads_the_card_and_the_folders(two: dict[str, Any], tmp_path: Path) -> None:
    home = tmp_path / "repository"
    result(2).save(home)
    result(3).save(home / "ipc3")
    (home / "ipc3" / "README.md").unlink()
    (home / "README.md").write_text(repo_card.render("alice/set", two, None, None), encoding="utf-8")
    assert datasets.get_dataset_config_names(str(home)) == ["default", "ipc3"]
    for arguments, rows in (((), 6), (("ipc3",), 9)):
        loaded = datasets.load_dataset(str(home), *arguments, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(loaded) == rows
        assert loaded.features["label"].names == ["0", "1", "2"]
        assert loaded[0]["image"].size == (8, 8)


@pytest.mark.parametrize("name", ["default", "ipc10", "dm-ipc10", "a.b", "_x", "A" * 96])
def test_config_names(name: str) -> None:
    assert layout.check_config(name) == name


@pytest.mark.parametrize(
    "name", ["", "data", "DATA", "con", "NUL.txt", ".git", "a.", "../x", "a/b", "a\\b", "a b", "é", "A" * 97, 3, None]
)
def test_invalid_config_names(name: Any) -> None:
    with pytest.raises(ValueError, match=r"config_name=.* is not a valid config name"):
        layout.check_config(name)


def test_repository_paths() -> None:
    assert layout.repo_path("default", "condensed.json") == "condensed.json"
    assert layout.repo_path("ipc3", "condensed.json") == "ipc3/condensed.json"
