"""CondensedDataset as a torch Dataset: what indexing, loaders and displays give, and the result behind them."""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.evaluation.diversity import diversity
from condensed_data.evaluation.privacy import measure
from condensed_data.storage.result import CondensationResult


@pytest.fixture
def condensed(tiny_images: TensorDataset) -> CondensedDataset:
    return CondensedDataset(tiny_images, recipes.random(ipc=2), cache=False, progress=False, device="cpu")


def test_indexing_gives_samples_of_the_source(condensed: CondensedDataset, tiny_images: TensorDataset) -> None:
    sample, label = condensed[-1]
    assert len(condensed) == len(condensed.labels) == 6
    assert torch.equal(sample, condensed.images[5])
    assert sample.dtype == tiny_images.tensors[0].dtype
    assert label == condensed.targets[5] == 2
    sample.zero_()  # a copy
    assert condensed.images[5].any()
    with pytest.raises(IndexError, match="index 6 is out of range for 6 samples"):
        condensed[6]


def test_a_loader_shuffles_and_passes_its_options_on(condensed: CondensedDataset) -> None:
    loader = condensed.loader(batch_size=4, drop_last=True)
    assert isinstance(loader, DataLoader)
    assert loader.dataset is condensed
    assert [len(y) for _, y in loader] == [4]
    assert isinstance(loader.sampler, torch.utils.data.RandomSampler)


def test_a_sampler_of_the_user_decides_the_order(condensed: CondensedDataset) -> None:
    def seen(**options: Any) -> list[list[int]]:
        return [y.tolist() for _, y in condensed.loader(**options)]

    assert seen(sampler=[5, 0, 3, 1], batch_size=3) == [[2, 0, 1], [0]]
    assert seen(batch_sampler=[[5], [0, 2]]) == [[2], [0, 1]]
    assert seen(shuffle=False) == [[0, 0, 1, 1, 2, 2]]


def test_a_dataset_can_be_made_from_a_result(condensed: CondensedDataset) -> None:
    other = CondensedDataset.from_result(condensed.result, transform=lambda x: 2 * x, target_transform=str)
    sample, label = other[0]
    assert torch.equal(sample, 2 * condensed[0][0])
    assert label == "0"
    assert repr(other) == repr(condensed)
    with pytest.raises(ValueError, match=r"soft=True needs soft labels.*Omit soft=True"):
        CondensedDataset.from_result(condensed.result, soft=True)
    soft = replace(condensed.result, labels=torch.eye(3)[condensed.labels])
    assert CondensedDataset.from_result(soft)[0][1] == 0
    assert CondensedDataset.from_result(soft, soft=True)[0][1].tolist() == [1, 0, 0]


def test_evaluations_are_recorded_in_the_result(
    condensed: CondensedDataset, tiny_test_images: TensorDataset, tmp_path: Path
) -> None:
    options = {"network": "convnet-d1-w4", "runs": 1, "training": "quick", "progress": False}
    measured = condensed.evaluate(tiny_test_images, **options)  # type: ignore[arg-type]
    condensed.add_baselines({"random": measured})
    assert condensed.result.metadata.evaluations == (measured,)
    condensed.save(tmp_path)
    loaded = CondensedDataset.load(tmp_path).metadata
    assert loaded.evaluations[0].accuracies == loaded.baselines[0][1].accuracies == measured.accuracies


@pytest.mark.parametrize("study", ["diversity", "privacy"])
def test_studies_take_a_result_or_a_dataset(
    condensed: CondensedDataset, tiny_images: TensorDataset, tiny_test_images: TensorDataset, study: str
) -> None:
    def text(samples: CondensedDataset | CondensationResult) -> str:
        if study == "diversity":
            return str(diversity(samples, tiny_images, progress=False))
        return str(measure(samples, tiny_images, tiny_test_images, networks_trained=0))

    assert text(condensed) == text(condensed.result)


def test_displays_show_the_samples(condensed: CondensedDataset, tmp_path: Path) -> None:
    text = repr(condensed)
    assert "6 samples (2 per class, 3 classes)" in text
    assert html.escape(text) in condensed._repr_html_()
    image = condensed.plot(tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as stored:
        assert stored.size == image.size


@pytest.mark.parametrize(
    "method",
    [CondensedDataset, CondensedDataset.evaluate, CondensedDataset.from_hub, CondensedDataset.push_to_hub],
)
def test_arguments_are_documented(method: Callable[..., object]) -> None:
    documentation = inspect.getdoc(method) or ""
    common = {"self", "token", "commit_message", "transform", "target_transform", "options"}
    missing = [name for name in set(inspect.signature(method).parameters) - common if f"{name}:" not in documentation]
    assert not missing
