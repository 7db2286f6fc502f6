"""Distances between samples of a class, and the command that prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cli_tools import NET, SMALL, shorten
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, SourceError, recipes
from condensed_data.cli.main import main
from condensed_data.evaluation.diversity import diversity, within_class_distance


def condense(source: TensorDataset, ipc: int = 4) -> CondensedDataset:
    return CondensedDataset(source, recipes.random(ipc), cache=False, progress=False)


def test_the_distance_is_the_mean_over_pairs_and_then_over_classes() -> None:
    rows = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 0, 1, 1, 1, 0, 2, 2])
    means = []
    for label in range(3):
        mine = rows[labels == label].double()
        pairs = [float((mine[i] - mine[j]).square().sum()) ** 0.5 for i in range(len(mine)) for j in range(i)]
        means.append(sum(pairs) / len(pairs))
    assert within_class_distance(rows, labels) == pytest.approx(sum(means) / 3)
    single = torch.tensor([0, 0, 1])
    assert within_class_distance(torch.tensor([[0.0], [3.0], [99.0]]), single) == 3.0
    with pytest.raises(ValueError, match=r"two samples in a class, but every class has one\. Use ipc=2"):
        within_class_distance(rows[:2], torch.tensor([0, 1]))


def test_random_samples_are_as_diverse_as_random_samples(tiny_images: TensorDataset, untouched_rng: None) -> None:
    found = diversity(condense(tiny_images, 10), tiny_images, subsets=20, progress=False)
    assert found.ratio == pytest.approx(1, abs=0.05)
    again = diversity(condense(tiny_images, 10), tiny_images, subsets=20, progress=False)
    assert found == again
    assert "features: raw" in str(found)


def test_equal_samples_have_no_diversity_and_distant_ones_more(tiny_images: TensorDataset) -> None:
    made = condense(tiny_images)
    rows = made.images.clone()
    made.images[:] = rows[::4].repeat_interleave(4, 0)
    assert diversity(made, tiny_images, progress=False).condensed == pytest.approx(0, abs=1e-5)
    made.images[:] = 2 * rows
    made.images[:] -= made.images.mean()
    twice = diversity(made, tiny_images, progress=False).condensed
    made.images[:] = rows
    assert twice == pytest.approx(2 * diversity(made, tiny_images, progress=False).condensed, rel=1e-4)


def test_features_of_a_module(tiny_images: TensorDataset) -> None:
    made = condense(tiny_images)
    first = torch.nn.Flatten()
    raw = diversity(made, tiny_images, progress=False)
    embedded = diversity(made, tiny_images, first, progress=False)
    assert embedded.condensed == raw.condensed
    assert embedded.features == "Flatten"


def test_other_sources_are_refused(tiny_images: TensorDataset) -> None:
    made, (images, labels) = condense(tiny_images), tiny_images.tensors
    with pytest.raises(SourceError, match=r"shape \(1, 12, 6\), but .* shape \(1, 12, 12\)"):
        diversity(made, TensorDataset(images[..., :6], labels), progress=False)
    with pytest.raises(SourceError, match="source has 2 classes, but the condensed samples have 3"):
        diversity(made, TensorDataset(images[:40], labels[:40]), progress=False)
    with pytest.raises(ValueError, match="features='pixels' is unknown"):
        diversity(made, tiny_images, "pixels", progress=False)
    with pytest.raises(ValueError, match="Use ipc=2 or more"):
        diversity(condense(tiny_images, 1), tiny_images, progress=False)


@pytest.mark.parametrize("change", [lambda x: x * 255, lambda x: (x * 255).byte(), lambda x: x * 4 - 2])
def test_a_source_in_another_value_space_is_refused(tiny_images: TensorDataset, change: Any) -> None:
    images, labels = tiny_images.tensors
    with pytest.raises(SourceError, match="source is in another value space"):
        diversity(condense(tiny_images), TensorDataset(change(images), labels), "raw", progress=False)


def test_a_source_with_other_labels_is_refused(tiny_images: TensorDataset) -> None:
    images, labels = tiny_images.tensors
    with pytest.raises(SourceError, match=r"has the labels 5, 6, 7, but the condensed samples have 0, 1, 2\."):
        diversity(condense(tiny_images), TensorDataset(images, labels + 5), "raw", progress=False)


def test_evaluate_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    assert main(["build", "cli_sources:tiny", *SMALL, "--no-evaluate", "--out", str(tmp_path)]) == 0
    words = ["--protocol", "quick", "--network", NET, "--runs", "1", "--quiet"]
    known = ["evaluate", str(tmp_path), "--test", "cli_sources:tiny", *words]
    assert main([*known, "--diversity", "raw"]) == 0
    text = capsys.readouterr().out
    assert "quick protocol" in text
    assert "of real samples: mean distance within a class" in text
    assert main(known) == 0
    assert "diversity" not in capsys.readouterr().out
