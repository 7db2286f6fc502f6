"""The comparison of a condensed dataset with random subsets and the full dataset."""

from __future__ import annotations

from dataclasses import replace

import cli_sources
import pytest
from cli_tools import NET, shorten

from condensed_data import CondensedDataset, recipes
from condensed_data.cli.reporting import format_comparison
from condensed_data.data.sample import SourceError
from condensed_data.evaluation import baselines, real_data
from condensed_data.training.protocols import quick


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def test_all_datasets_are_evaluated_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "quick", lambda: replace(quick(), epochs=60, lr=0.05))
    train, test = cli_sources.tiny("train"), cli_sources.tiny("test")
    condensed = CondensedDataset(train, recipes.random(ipc=2), cache=False, progress=False)
    found = baselines.compare(condensed, train, test, network="convnet-d2-w8", runs=2, progress=False)
    assert found.whole.name == "whole set"
    assert found.training.max_steps == 61
    assert found.epochs == 61
    assert found.full_steps == 61
    assert found.test_samples == 24
    for row in (found.condensed, found.random, found.whole):
        assert len(row.accuracies) == 2
        assert row.seconds > 0
        assert min(row.accuracies) > 0.6  # chance is a third
    assert found.condensed.accuracies == condensed.metadata.evaluations[0].accuracies
    kept = dict(condensed.metadata.baselines)
    assert list(kept) == ["random", "whole set"]
    for name, row in (("random", found.random), ("whole set", found.whole)):
        assert kept[name].accuracies == row.accuracies
        assert kept[name].training == found.training
        # two classes of one size each: their mean is that of all
        assert sum(filter(None, kept[name].per_class)) / 3 == pytest.approx(kept[name].mean)
    # the same samples, drawn with the same seed and trained with the same seed
    assert found.random.accuracies[0] == found.condensed.accuracies[0]


def test_a_test_set_with_other_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = cli_sources.tiny("train"), cli_sources.tiny("test")
    train.classes, test.classes = ["cat", "dog", "fox"], ["dog", "fox", "cat"]
    condensed = CondensedDataset(train, recipes.random(ipc=1), cache=False, progress=False)
    with pytest.raises(SourceError, match="test_set calls its label 0 'dog', but in the source 'dog' is label 1"):
        baselines.compare(condensed, train, test, network=NET, runs=1, progress=False)
    assert condensed.metadata.evaluations == ()


def test_a_part_of_a_large_dataset_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_data, "MAX_BYTES", 20 * 4 * 64)
    train, test = cli_sources.tiny("train"), cli_sources.tiny("test")
    condensed = CondensedDataset(train, recipes.random(ipc=1), cache=False, progress=False)
    found = baselines.compare(condensed, train, test, network=NET, runs=1, progress=False)
    assert found.whole.name == "20 of the whole set"
    again = baselines.compare(condensed, train, test, network=NET, runs=1, seed=1, progress=False)
    kept = condensed.metadata.baselines  # measured again, kept once
    assert [name for name, _ in kept] == ["random", "20 of the whole set"]
    assert kept[0][1].accuracies == again.random.accuracies
    assert "20 of the whole set" in format_comparison(found)
    monkeypatch.undo()
    part, title = real_data.training_part(train, 10, condensed.metadata, seed=0)
    assert (len(part), title) == (10, "whole set")
    assert len(set(part.indices)) == 10
    assert real_data.training_part(train, 36, condensed.metadata, seed=0)[0] is train
