"""DD-Ranking's scores, against numbers computed by hand, and the tensors that its package takes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cli_sources
import pytest
import torch
from cli_tools import NET, SMALL, fails, shorten
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.cli.main import main
from condensed_data.data.augment import Identity
from condensed_data.data.sample import SourceError
from condensed_data.evaluation.dd_ranking import Ranking, rank, variants
from condensed_data.evaluation.dd_ranking_scores import augmentation_robust, label_robust
from condensed_data.training.protocol import OrderedTraining, Training
from condensed_data.training.protocols import dsa, quick

PLAIN = Training("plain", epochs=300, augment=Identity())


def test_label_robust_by_hand() -> None:
    # HLR = 0.85 - 0.45 = 0.40 and IOR = 0.60 - 0.45 = 0.15: alpha = -0.125
    given = {"whole": 0.85, "condensed": 0.45, "random": 0.45, "condensed_any": 0.60}
    assert label_robust(**given) == pytest.approx((0.882497 - 0.367879) / 2.350402, abs=1e-5)
    assert label_robust(**given, weight=1) == pytest.approx((1.161834 - 0.367879) / 2.350402, abs=1e-5)
    assert label_robust(**given, weight=0) == pytest.approx((0.670320 - 0.367879) / 2.350402, abs=1e-5)


def test_augmentation_robust_by_hand() -> None:
    # 0.5 (0.70 - 0.50) + 0.5 (0.50 - 0.46) = 0.12
    found = augmentation_robust(condensed=0.70, random=0.50, condensed_plain=0.50, random_plain=0.46)
    assert found == pytest.approx((1.127497 - 0.367879) / 2.350402, abs=1e-5)


def test_the_ends_of_the_scale() -> None:
    assert label_robust(whole=1, condensed=0, random=1) == pytest.approx(0, abs=1e-12)
    assert label_robust(whole=0, condensed=1, random=0) == pytest.approx(1)
    nothing = (1 - math.exp(-1)) / (math.e - math.exp(-1))
    assert label_robust(whole=0.7, condensed=0.7, random=0.7) == pytest.approx(nothing)
    assert augmentation_robust(condensed=0.7, random=0.7, condensed_plain=0.2, random_plain=0.2) == pytest.approx(
        nothing
    )


def test_percentages_are_refused() -> None:
    with pytest.raises(ValueError, match=r"whole=93.5 must be a fraction in \[0, 1\]: 0.5 for 50 %"):
        label_robust(whole=93.5, condensed=0.8, random=0.5)
    with pytest.raises(ValueError, match=r"random_plain=50"):
        augmentation_robust(condensed=0.8, random=0.5, condensed_plain=0.6, random_plain=50)
    with pytest.raises(ValueError, match=r"weight=2"):
        label_robust(whole=0.9, condensed=0.8, random=0.5, weight=2)


def test_variants_of_protocols() -> None:
    augmented, plain = variants(dsa())
    assert augmented == dsa()
    assert plain == replace(dsa(), name="dsa-unaugmented", augment=Identity())
    mixed = replace(PLAIN, cutmix=0.5)
    assert variants(mixed) == (mixed, replace(mixed, name="plain-unaugmented", cutmix=0.0))
    augmented, plain = variants(PLAIN)
    assert plain == PLAIN
    assert augmented == replace(plain, name="plain-augmented", augment=dsa().augment)


@pytest.fixture
def condensed() -> CondensedDataset:
    return CondensedDataset(cli_sources.tiny("train"), recipes.random(ipc=2), cache=False, progress=False)


def _rank(condensed: CondensedDataset, **options: object) -> Ranking:
    given = {"network": NET, "runs": 2, "training": replace(quick(), epochs=9, lr=0.05), "progress": False}
    return rank(condensed, cli_sources.tiny("train"), cli_sources.tiny("test"), **(given | options))  # type: ignore[arg-type]


def test_rank_measures_what_the_scores_need(condensed: CondensedDataset, untouched_rng: None) -> None:
    found = _rank(condensed)
    for one in (found.condensed, found.condensed_plain):
        assert one.training.max_steps == 10
        assert one.runs == 2
    # the same samples, drawn with the same seed and trained with the same seed
    assert found.random[0] == found.condensed.accuracies[0]
    assert found.random_plain[0] == found.condensed_plain.accuracies[0]
    mean = sum(found.whole) / 2
    assert found.label_robust == label_robust(whole=mean, condensed=found.condensed.mean, random=sum(found.random) / 2)
    assert found.augmentation_robust == augmentation_robust(
        condensed=found.condensed.mean,
        random=sum(found.random) / 2,
        condensed_plain=found.condensed_plain.mean,
        random_plain=sum(found.random_plain) / 2,
    )
    assert condensed.metadata.evaluations == (found.condensed, found.condensed_plain)


def test_the_label_robust_score_uses_the_protocol_of_the_dataset(condensed: CondensedDataset) -> None:
    plain = replace(PLAIN, name="own", epochs=9, lr=0.05)
    found = _rank(condensed, training=plain, whole=0.9)
    assert found.own_plain
    assert found.whole == (0.9,)
    assert found.label_robust == label_robust(
        whole=0.9, condensed=found.condensed_plain.mean, random=sum(found.random_plain) / 2
    )
    assert "whole set: 90.0 % (as given)" in str(found)


def test_soft_labels_do_not_affect_the_scores(condensed: CondensedDataset) -> None:
    hard = _rank(condensed, whole=0.9)
    soft = CondensedDataset(
        cli_sources.tiny("train"),
        recipes.random(ipc=2).set(labels_from=lambda x: x.flatten(1)[:, :3]),
        cache=False,
        progress=False,
    )
    assert soft.labels.ndim == 2
    # the same samples, with labels that are nearly uniform, but the same most probable classes
    labels = 0.4 * torch.nn.functional.one_hot(condensed.labels, 3) + 0.2
    found = _rank(CondensedDataset.from_result(replace(soft.result, labels=labels)), whole=0.9)
    assert found.condensed.accuracies == hard.condensed.accuracies
    assert found.label_robust == hard.label_robust


def test_datasets_that_cannot_be_ranked_are_refused(condensed: CondensedDataset) -> None:
    with pytest.raises(ValueError, match=r"whole=93 must be a fraction"):
        _rank(condensed, whole=93)
    ordered = replace(condensed.metadata, training=OrderedTraining())
    with pytest.raises(ValueError, match=r"is order-dependent.*training=\"dsa\""):
        _rank(CondensedDataset.from_result(replace(condensed.result, metadata=ordered)), training=None)
    other = TensorDataset(torch.rand(12, 1, 9, 9), torch.arange(12) % 3)
    with pytest.raises(SourceError, match=r"train has samples of shape \(1, 9, 9\)"):
        rank(condensed, other, cli_sources.tiny("test"), training="quick", progress=False)


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorten(monkeypatch)
    out = tmp_path / "built"
    assert main(["build", "cli_sources:tiny", *SMALL, "--out", str(out), "--no-evaluate"]) == 0
    capsys.readouterr()
    words = ["evaluate", str(out), "--test", "cli_sources:tiny", "--runs", "1", "--quiet"]
    words += ["--network", NET, "--protocol", "quick"]
    assert main([*words, "--ranking", "--whole-accuracy", "0.8", "--save"]) == 0
    shown = capsys.readouterr().out
    assert "label-robust score 0." in shown
    assert "augmentation-robust score 0." in shown
    assert "whole set: 80.0 % (as given)" in shown
    stored = [evaluation.protocol for evaluation in CondensedDataset.load(out).metadata.evaluations]
    assert stored == ["quick", "quick-unaugmented"]
    assert "--whole-accuracy only applies to --ranking" in fails(capsys, *words, "--whole-accuracy", "0.8")
    assert "whole=80.0 must be a fraction" in fails(capsys, *words, "--ranking", "--whole-accuracy", "80")


def _colored(shape: tuple[int, ...], counts: tuple[int, ...]) -> CondensedDataset:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    samples = torch.rand(len(labels), *shape, generator=torch.Generator().manual_seed(0))
    source = TensorDataset(samples, labels * 3)
    return CondensedDataset(source, recipes.random(ipc=2), cache=False, progress=False)


def _rearranged(condensed: CondensedDataset, order: list[int]) -> CondensedDataset:
    result = condensed.result
    return CondensedDataset.from_result(replace(result, images=result.images[order], labels=result.labels[order]))


def test_to_ddranking() -> None:
    condensed = _rearranged(_colored((3, 8, 8), (4, 5, 6)), [3, 0, 5, 2, 1, 4])
    images, labels = condensed.to_ddranking()
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (images.shape, images.dtype) == ((6, 3, 8, 8), torch.float32)
    # sorted stably: the order in which each class's samples stood
    back = images * condensed.metadata.space.std.view(3, 1, 1) + condensed.metadata.space.mean.view(3, 1, 1)
    by_class = [i for label in range(3) for i, one in enumerate(condensed.labels.tolist()) if one == label]
    assert torch.allclose(back, condensed.images[by_class], atol=1e-6)


def test_to_ddranking_takes_rgb_alone() -> None:
    with pytest.raises(ValueError, match=r"RGB images \(3, H, W\).*shape \(1, 8, 8\)"):
        _colored((1, 8, 8), (4, 4)).to_ddranking()
    condensed = _rearranged(_colored((3, 8, 8), (4, 4)), [1, 2, 3])
    with pytest.raises(ValueError, match=r"same number of samples in each class.*\[1, 2\]"):
        condensed.to_ddranking()
