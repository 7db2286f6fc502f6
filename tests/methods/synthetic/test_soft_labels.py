"""Soft labels: learned with the samples or predicted by a teacher, stored, and evaluated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from condensed_data import CondensedDataset, condense_tensors, recipes
from condensed_data.cli.main import main
from condensed_data.core.errors import ArtifactError
from condensed_data.core.spec import NamedCallable
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.synthetic import Factorized, Frequency, MultiFormation
from condensed_data.methods.synthetic.soft_labels import CONFIDENCE, Teacher
from condensed_data.networks import ConvNet
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.protocols import quick

NET = ConvNet(width=8, depth=1)
QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "precision": "fp32"}
SHORT = replace(quick(), name="short", epochs=60)
TEACHER = Teacher(NET, Pretraining(epochs=3, networks=2))


def dsa(**options: Any) -> Recipe:
    return recipes.dsa(2, iterations=3, batch=8, network=NET, **options).set(pool__period=2, pool__epochs=1)


def mtt(**options: Any) -> Recipe:
    return recipes.mtt(2, 3, steps=3, experts=1, epochs=2, ahead=1, network=NET, lr=10.0, **options)


def built(source: Any, recipe: Recipe, **options: Any) -> CondensedDataset:
    return CondensedDataset(source, recipe, cache=options.pop("cache", False), **QUIET, **options)


LEARNING = {
    "dc": lambda: recipes.dc(2, iterations=3, batch=8, network=NET).set(pool__period=2, pool__epochs=1),
    "dsa": dsa,
    "mtt": mtt,
    "dd": lambda: recipes.dd(2, iterations=3, batch=20, network=NET, epochs=1),
    "several formations": lambda: replace(dsa(), synthetic=MultiFormation()),
    "frequencies": lambda: replace(dsa(), synthetic=Frequency(1 / 4)),
    "codes": lambda: replace(dsa(), ipc=10, synthetic=Factorized(codes=1)),
}


@pytest.mark.parametrize("name", LEARNING)
def test_labels_are_learned_stored_and_evaluated(
    name: str, tiny_images: TensorDataset, tiny_test_images: TensorDataset, tmp_path: Path
) -> None:
    condensed = built(tiny_images, LEARNING[name]().set(soft_labels=True))
    hard = condensed.class_indices
    assert condensed.labels.shape == (len(condensed), 3)
    assert condensed.labels.dtype == torch.float32
    torch.testing.assert_close(condensed.labels.sum(1), torch.ones(len(condensed)))
    own = condensed.labels.gather(1, hard[:, None])
    assert bool((own != CONFIDENCE).any())  # they moved
    assert condensed.targets == hard.tolist()
    condensed.save(tmp_path / "dataset")
    loaded = CondensedDataset.load(tmp_path / "dataset", soft=True)
    assert torch.equal(loaded.labels, condensed.labels)
    assert torch.equal(loaded.images, condensed.images)
    assert loaded.recipe == condensed.recipe
    assert json.loads((tmp_path / "dataset" / "condensed.json").read_text())["label"] == {"kind": "probs"}
    assert "class probabilities" in (tmp_path / "dataset" / "README.md").read_text()
    plain = built(tiny_images, LEARNING[name]())
    assert condensed.stored_floats == plain.stored_floats + 3 * len(condensed) == loaded.stored_floats
    options = {} if name == "dd" else {"training": SHORT}
    scores = [one.evaluate(tiny_test_images, NET, 1, progress=False, **options).mean for one in (condensed, loaded)]
    assert scores[0] == scores[1]


def test_soft_labels_start_at_the_class_of_the_sample(tiny_images: TensorDataset) -> None:
    condensed = built(tiny_images, dsa().set(soft_labels=True, optimizer__rates=(("labels", 1e-9),)))
    expected = torch.full((6, 3), (1 - CONFIDENCE) / 2)
    expected[torch.arange(6), torch.arange(3).repeat_interleave(2)] = CONFIDENCE
    torch.testing.assert_close(condensed.labels, expected)


def test_indexing_is_hard_unless_soft_is_asked_for(tiny_images: TensorDataset) -> None:
    source = TensorDataset(tiny_images.tensors[0], tiny_images.tensors[1] * 10)
    condensed = built(source, dsa().set(soft_labels=True))
    assert [condensed[i][1] for i in range(len(condensed))] == condensed.targets
    assert set(condensed.targets) <= {0, 10, 20}
    soft = built(source, dsa().set(soft_labels=True), soft=True, target_transform=lambda label: label * 2)
    expected = torch.zeros(21).index_copy(0, torch.tensor([0, 10, 20]), condensed.labels[3])
    assert torch.equal(soft[3][1], 2 * expected)  # one column per label up to the largest
    batch = next(iter(DataLoader(built(source, dsa().set(soft_labels=True), soft=True), batch_size=4)))
    assert batch[1].shape == (4, 21)
    assert bool(nn.CrossEntropyLoss()(torch.zeros(4, 21), batch[1]) > 1)
    how = {"device": "cpu", "precision": "fp32"}
    images, labels = condense_tensors(*source.tensors, dsa().set(soft_labels=True), **how)
    assert torch.equal(labels, condensed.labels)
    assert torch.equal(images, condensed.images)


def test_the_preview_has_hard_and_soft_labels(tiny_images: TensorDataset, tmp_path: Path) -> None:
    condensed = built(tiny_images, dsa().set(soft_labels=True))
    condensed.save(tmp_path)
    table = parquet.read_table(tmp_path / "data" / "train-00000-of-00001.parquet")
    assert table["label"].to_pylist() == condensed.class_indices.tolist()
    torch.testing.assert_close(torch.tensor(table["soft_label"].to_pylist()), condensed.labels)
    assert condensed.plot().size[0] > 0


def probabilities(modules: list[nn.Module], samples: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([module(samples).softmax(1) for module in modules]).mean(0)


def test_a_teacher_trained_on_the_data_labels_any_recipe(tiny_images: TensorDataset, tmp_path: Path) -> None:
    recipe = recipes.dm(2, iterations=2, batch=8, network=NET)
    condensed = built(tiny_images, recipe.set(labels_from=TEACHER), cache=tmp_path)
    plain = built(tiny_images, recipe)
    assert torch.equal(condensed.images, plain.images)
    assert condensed.labels.shape == (6, 3)
    assert len(list((tmp_path / "networks").glob("*/*.safetensors"))) == 2
    coreset = built(tiny_images, recipes.random(2).set(labels_from=TEACHER), cache=tmp_path)
    assert len(list((tmp_path / "networks").glob("*/*.safetensors"))) == 2  # the same teacher
    assert coreset.labels.shape == (6, 3)
    softer = built(tiny_images, recipe.set(labels_from=replace(TEACHER, temperature=5.0)), cache=tmp_path)
    assert softer.labels.max() < condensed.labels.max()
    assert torch.equal(built(tiny_images, recipe.set(labels_from=TEACHER), cache=tmp_path).labels, condensed.labels)


class Bright(nn.Module):
    """Logits from the mean value of a sample; different ones in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1, keepdim=True)
        assert not self.training
        return mean * torch.tensor([1.0, 2.0, 3.0])


def test_any_module_is_a_teacher_in_the_value_space_of_the_source(tiny_images: TensorDataset, tmp_path: Path) -> None:
    module = Bright()
    condensed = built(tiny_images, recipes.random(2).set(labels_from=module))
    logits = condensed.images.flatten(1).mean(1, keepdim=True) * torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(condensed.labels, logits.softmax(1))
    assert module.training
    named = recipes.random(2).set(labels_from=NamedCallable("bright", module))
    first, again = (built(tiny_images, named, cache=tmp_path) for _ in range(2))
    assert torch.equal(first.labels, again.labels)


def test_invalid_arguments_are_rejected(tiny_images: TensorDataset, tmp_path: Path) -> None:
    for recipe in (recipes.dm(2), recipes.random(2)):
        with pytest.raises(ValueError, match=r"cannot learn labels .*labels_from=Teacher\(\)"):
            recipe.set(soft_labels=True)
        with pytest.raises(ValueError, match="soft=True needs soft labels"):
            built(tiny_images, recipe, soft=True)
    with pytest.raises(ValueError, match="mutually exclusive"):
        dsa().set(soft_labels=True).set(labels_from=TEACHER)
    with pytest.raises(ValueError, match=r"soft_labels='yes'\) must be True or False"):
        dsa().set(soft_labels="yes")
    with pytest.raises(ValueError, match=r"labels_from='resnet'\) must be a Teacher or callable"):
        dsa().set(labels_from="resnet")
    with pytest.raises(ValueError, match=r"labels_from returned shape \(2, 7\) for 2 samples"):
        built(tiny_images, recipes.random(2).set(labels_from=nn.Sequential(nn.Flatten(), nn.Linear(144, 7))))
    with pytest.raises(ValueError, match="temperature=0"):
        Teacher(temperature=0)
    built(tiny_images, recipes.random(2)).save(tmp_path / "hard")
    with pytest.raises(ValueError, match="has hard ones"):
        CondensedDataset.load(tmp_path / "hard", soft=True)
    condensed = built(tiny_images, dsa().set(soft_labels=True))
    broken = replace(condensed.result, hard_labels=torch.tensor([0, 1]))
    with pytest.raises(ArtifactError, match="hard_labels"):
        broken.save(tmp_path / "broken")


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", "digits", "--ipc", "1", "--iterations", "2", "--quiet", "--no-evaluate", "--no-cache"]
    words += ["--out", str(tmp_path / "dataset"), "--device", "cpu"]
    network = ["--set", "network=ConvNet(width=8, depth=1)"]
    assert main([*words, *network, "--recipe", "dsa", "--set", "soft_labels=True"]) == 0
    assert CondensedDataset.load(tmp_path / "dataset").labels.shape == (10, 10)
    assert main([*words, *network, "--recipe", "dm", "--set", "soft_labels=True"]) == 1
    assert "labels_from=Teacher()" in capsys.readouterr().err
    teacher = "labels_from=Teacher(network=ConvNet(width=8, depth=1), pretrain=Pretraining(epochs=1))"
    assert main([*words, "--recipe", "random", "--iterations", "0", "--set", teacher]) == 0
    assert CondensedDataset.load(tmp_path / "dataset").labels.shape == (10, 10)
