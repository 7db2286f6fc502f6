"""The privacy measures: copies of real samples are found, samples of another draw are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from condensed_data import CondensedDataset, Training, recipes
from condensed_data.cli.main import main
from condensed_data.data.sample import SourceError
from condensed_data.evaluation.privacy import Privacy, measure, roc
from condensed_data.evaluation.privacy.nearest_neighbors import nearest

SHAPES = {"gray": (1, 8, 8), "RGB": (3, 9, 7), "signals": (2, 11), "vectors": (6,)}
SHORT = Training(name="short", epochs=3)


def samples(shape: tuple[int, ...], count: int, seed: int) -> TensorDataset:
    """Three classes around three prototypes."""
    labels = torch.arange(count) % 3
    prototypes = torch.randn(3, *shape, generator=torch.Generator().manual_seed(9))
    noise = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(prototypes[labels] + noise, labels)


def random_samples(source: Any) -> CondensedDataset:
    return CondensedDataset(source, recipes.random(ipc=4), cache=False, progress=False)


def measured(condensed: CondensedDataset, source: Any, heldout: Any, **options: Any) -> Privacy:
    how: dict[str, Any] = {"networks_trained": 0, "device": "cpu", "precision": "fp32"}
    return measure(condensed, source, heldout, **(how | options))


@pytest.mark.parametrize("shape", SHAPES)
def test_copies_are_detected(shape: str) -> None:
    source, heldout = samples(SHAPES[shape], 90, 1), samples(SHAPES[shape], 60, 2)
    condensed = random_samples(source)
    report = measured(condensed, source, heldout)
    assert float(report.distances.max()) < 1e-6  # standardized twice
    torch.testing.assert_close(source.tensors[0][report.members], condensed.images)
    assert report.nearer_to_members == 1
    assert report.too_near == 12
    (distance,) = report.attacks
    assert distance.certain == 12
    assert distance.found == pytest.approx(12 / 90)
    torch.testing.assert_close(report.nearest, condensed.images, rtol=1e-4, atol=1e-5)


def test_samples_of_another_draw_reveal_nothing() -> None:
    source, heldout = samples((1, 8, 8), 600, 1), samples((1, 8, 8), 300, 2)
    condensed = random_samples(samples((1, 8, 8), 600, 3))
    report = measured(condensed, source, heldout)
    (distance,) = report.attacks
    assert distance.low < 0.5 < distance.high
    assert report.too_near <= 1
    assert report.chance == pytest.approx(2 / 3)
    assert abs(report.nearer_to_members - 2 / 3) < 0.45
    assert float(report.distances.min()) > 0.5


def test_the_attack_by_loss_finds_training_samples() -> None:
    source, heldout = samples((1, 8, 8), 12, 1), samples((1, 8, 8), 90, 2)
    condensed = random_samples(source)  # all of it
    scrambled = TensorDataset(heldout.tensors[0], (heldout.tensors[1] + 1) % 3)
    how = {"networks_trained": 2, "network": "convnet-d2-w8", "training": Training(name="e", epochs=20)}
    report = measured(condensed, source, scrambled, **how)
    assert report.attacks[1].auc > 0.9
    assert measured(condensed, source, scrambled, **how).attacks == report.attacks


def test_nearest_equals_a_naive_search() -> None:
    draw = torch.Generator().manual_seed(0)
    queries, rows = torch.randn(7, 2, 5, generator=draw), torch.randn(40, 2, 5, generator=draw)
    queries[3] = rows[11]
    distances, index = nearest(queries, rows)
    naive = torch.tensor([[float((q - r).double().square().mean().sqrt()) for r in rows] for q in queries])
    assert index.tolist() == naive.argmin(1).tolist()
    torch.testing.assert_close(distances, naive.min(1).values, rtol=1e-5, atol=1e-6)
    assert distances[3] == 0


def test_the_auc_is_a_fraction_of_pairs_and_lies_in_its_interval() -> None:
    members, heldout = torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([2.0, 0.0, 1.5])
    pairs = [(m > h) + (m == h) / 2 for m in members.tolist() for h in heldout.tolist()]
    attack = roc("score", members, heldout)
    assert attack.auc == pytest.approx(sum(pairs) / len(pairs))
    assert attack.certain == 1
    draw = torch.Generator().manual_seed(0)
    inside = 0
    for _ in range(200):  # normal scores one deviation apart have the area Phi(1 / sqrt 2)
        attack = roc("score", 1 + torch.randn(60, generator=draw), torch.randn(40, generator=draw))
        inside += attack.low <= 0.7602 <= attack.high
    assert 180 <= inside <= 200


def test_bad_arguments_are_refused() -> None:
    condensed = random_samples(samples((1, 8, 8), 30, 1))
    with pytest.raises(SourceError, match="heldout has samples of shape"):
        measured(condensed, samples((1, 8, 8), 30, 1), samples((1, 9, 9), 30, 1))
    with pytest.raises(ValueError, match=r"networks_trained=-1.*at least 0"):
        measured(condensed, samples((1, 8, 8), 30, 1), samples((1, 8, 8), 30, 1), networks_trained=-1)
    with pytest.raises(ValueError, match="source has 29 samples, but the condensed dataset was made from 30"):
        measured(condensed, samples((1, 8, 8), 29, 1), samples((1, 8, 8), 30, 1))
    with pytest.raises(ValueError, match="nonsense"):
        measured(condensed, samples((1, 8, 8), 30, 1), samples((1, 8, 8), 30, 1), network="nonsense")
    with pytest.raises(ValueError, match="2 or more of each"):
        roc("score", torch.zeros(1), torch.zeros(5))
    with pytest.raises(ValueError, match="NaN or infinite"):
        roc("score", torch.tensor([0.0, torch.nan]), torch.zeros(5))


def test_global_random_states_are_preserved(untouched_rng: None) -> None:
    source = samples((1, 8, 8), 30, 1)
    measured(
        random_samples(source),
        source,
        samples((1, 8, 8), 30, 2),
        networks_trained=1,
        network="mlp",
        training=SHORT,
    )


def test_factorized_datasets_are_measured_decoded(tmp_path: Path) -> None:
    source, heldout = samples((1, 8, 8), 90, 1), samples((1, 8, 8), 60, 2)
    recipe = recipes.kfs(ipc=4, iterations=1, batch=4, channels=1, width=4, codes=3, fit=2)
    condensed = CondensedDataset(source, recipe, cache=False, progress=False)
    report = measured(condensed, source, heldout)
    assert report.distances.shape == (len(condensed),) == (18,)
    assert "Privacy of 18 condensed samples; 90 samples of the source" in str(report)
    picture = report.plot(tmp_path / "pairs.png", pairs=12)
    assert (tmp_path / "pairs.png").stat().st_size > 0
    assert picture.width > 10 * 50


def some_digits(split: str) -> Any:
    """A source of the command line: 200 digits, and 200 others."""
    from condensed_data.data.catalog import load

    return Subset(load("digits", "train"), range(200) if split == "train" else range(200, 400))


def no_split() -> Any:
    """One without a test split."""
    return some_digits("train")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    CondensedDataset(no_split(), recipes.random(ipc=2), cache=False, progress=False).save(tmp_path / "s")
    words = ["privacy", str(tmp_path / "s"), "--networks", "0", "--quiet"]
    assert main([*words, "--source", f"{__name__}:some_digits", "--out", str(tmp_path / "pairs.png")]) == 0
    output = capsys.readouterr().out
    assert "nearest real sample is a member: 100.0 %" in output
    assert "are: 20 of 20" in output
    assert (tmp_path / "pairs.png").exists()
    assert main([*words, "--source", f"{__name__}:no_split"]) == 1
    assert "no test split" in (error := capsys.readouterr().err)
    assert "--heldout SOURCE" in error
    heldout = ["--heldout", f"{__name__}:some_digits"]
    assert main([*words, "--source", f"{__name__}:no_split", *heldout]) == 0
    assert main([*words, "--source", "digits", "--out", "pairs.txt"]) == 1
    assert "image suffix" in capsys.readouterr().err
