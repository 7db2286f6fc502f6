"""Class names: `classes[target]` names the class that the source yields, or there are no names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_data
import numpy as np
import pytest
import torch
from hostile_text import HOSTILE
from sources import ListDataset
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset, random_split
from torchvision import datasets as tv
from torchvision.transforms import ToTensor

from condensed_data import CondensedDataset, recipes
from condensed_data.core.spec import DatasetInfo
from condensed_data.data import catalog
from condensed_data.data.augment import DefaultDSAOps
from condensed_data.data.class_names import class_names
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect

NAMES = ["ant", "bee", "cat", "dog", "elk", "fox"]


def named(labels: list[int], classes: Any = NAMES, **attributes: Any) -> ListDataset:
    """A dataset with random samples of these labels."""
    samples = torch.rand(len(labels), 1, 4, 4, generator=torch.Generator().manual_seed(0))
    dataset: Any = ListDataset(list(zip(samples, labels, strict=True)))
    dataset.classes = classes
    vars(dataset).update(attributes)
    return dataset


def chosen(source: Dataset[Any], **options: Any) -> CondensedDataset:
    return CondensedDataset(source, recipes.random(ipc=1), cache=False, progress=False, **options)


@pytest.fixture
def fashion(tmp_path: Path) -> Callable[..., tv.FashionMNIST]:
    fake_data.fashion_mnist(tmp_path)
    return lambda **options: tv.FashionMNIST(str(tmp_path), **options)


def relabel(label: int) -> int:
    return 9 - label


def test_a_target_transform_that_changes_labels_drops_the_names(fashion: Callable[..., Any]) -> None:
    for transform in (relabel, lambda label: label % 2, lambda label: (label + 1) % 10, lambda label: label + 1, str):
        assert class_names(fashion(target_transform=transform)) is None
        assert class_names(Subset(fashion(target_transform=transform), [1, 2])) is None
    small = chosen(fashion(target_transform=relabel))
    assert small.classes == [str(label) for label in range(10)]
    assert not small.metadata.source_classes


@pytest.mark.parametrize("transform", [int, np.int64, torch.tensor, lambda label: label, lambda label: [label]])
def test_a_target_transform_that_keeps_labels_keeps_the_names(transform: Any, fashion: Callable[..., Any]) -> None:
    assert class_names(fashion(target_transform=transform)) == tuple(tv.FashionMNIST.classes)


def test_subclasses_and_wrappers_that_change_labels_drop_the_names(fashion: Callable[..., Any]) -> None:
    class Wrapper(Dataset[Any]):
        """Delegates everything but the labels."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            if name == "inner":
                raise AttributeError(name)
            return getattr(self.inner, name)

        def __len__(self) -> int:
            return len(self.inner)

        def __getitem__(self, index: int) -> Any:
            return self.inner[index][0], relabel(self.inner[index][1])

    class Relabeled(tv.FashionMNIST):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return image, relabel(label)

    relabeled = fashion()
    relabeled.__class__ = Relabeled
    for dataset in (relabeled, Wrapper(fashion()), Subset(Wrapper(fashion()), range(29))):
        assert chosen(dataset).classes == [str(label) for label in range(10)]
    assert chosen(fashion()).classes == tv.FashionMNIST.classes


def test_scripts_run_on_a_condensed_subset() -> None:
    """What torchvision scripts do: `classes[target]`, `class_to_idx`, and a network of `len(classes)` outputs."""
    whole = named([0, 1, 2, 3, 4, 5] * 3)
    part = Subset(whole, [i for i, (_, label) in enumerate(whole.items) if label in (1, 4)])
    for source in (part, Subset(part, range(4)), ConcatDataset([part, part])):
        small = chosen(source)
        assert (small.targets, small.classes) == ([1, 4], NAMES)
        assert [small.classes[target] for target in small.targets] == ["bee", "elk"]
        assert small.class_to_idx == {name: label for label, name in enumerate(NAMES)}
        assert (small.metadata.classes, small.metadata.class_values) == (("bee", "elk"), (1, 4))
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, len(small.classes)))
        for images, targets in DataLoader(small, batch_size=2):
            assert torch.isfinite(torch.nn.functional.cross_entropy(network(images), targets))


def test_names_survive_saving(tmp_path: Path) -> None:
    small = chosen(Subset(named([0, 1, 2, 3, 4, 5] * 2), [1, 4, 7, 10]))
    small.save(tmp_path / "small")
    loaded = CondensedDataset.load(tmp_path / "small")
    assert (loaded.classes, loaded.class_to_idx, loaded.targets) == (small.classes, small.class_to_idx, [1, 4])
    assert "bee, elk" in (tmp_path / "small" / "README.md").read_text()


def test_soft_labels_have_a_column_for_every_name() -> None:
    source = Subset(named([0, 1, 2, 3, 4, 5] * 3), [1, 4, 7, 10, 13, 16])
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    recipe = recipes.random(ipc=1).set(labels_from=teacher)
    small = CondensedDataset(source, recipe, cache=False, progress=False, soft=True)
    assert (small.labels.shape, small[0][1].shape) == ((2, 2), (6,))
    for row, (_, soft) in zip(small.labels, small, strict=True):
        assert torch.equal(soft[[1, 4]], row)
        assert float(soft.sum()) == pytest.approx(1)


def test_labels_without_names() -> None:
    small = chosen(named([3, 7, 3, 7], None))
    assert (small.targets, small.metadata.classes) == ([3, 7], ("3", "7"))
    assert [small.classes[target] for target in small.targets] == ["3", "7"]
    assert small.class_to_idx["7"] == 7
    huge = chosen(named([3, 10**12, 3], None))
    assert (huge.targets, huge.classes) == ([3, 10**12], ["3", str(10**12)])
    assert huge.class_to_idx == {"3": 3, str(10**12): 10**12}


@pytest.mark.parametrize(
    ("classes", "index", "names"),
    [
        (["cat", "dog"], None, ("cat", "dog")),
        (("cat", "dog"), None, ("cat", "dog")),
        (np.array(["cat", "dog"]), None, ("cat", "dog")),
        ({"cat": 0, "dog": 1}, None, ("cat", "dog")),
        ({0: "cat", 1: "dog"}, None, ("cat", "dog")),
        ({1: "cat"}, None, ("0", "cat")),
        (None, {"cat": 1, "dog": 0}, ("dog", "cat")),
        (["cat", "dog"], {"cat": 0, "dog": 1}, ("cat", "dog")),
        ([("crane", "bird"), ("crane", "machine")], None, ("crane, bird", "crane, machine")),  # as ImageNet
        ([("cat", "tom"), ("dog",)], {"cat": 0, "tom": 0, "dog": 1}, ("cat, tom", "dog")),
        (["crane", "owl", "crane"], None, ("crane (0)", "owl", "crane (2)")),
        (["a", "a", "a (0)"], None, ("a (0)", "a (1)", "a (0) (2)")),
        (["crane", "owl", "crane"], {"crane": 2, "owl": 1}, ("crane (0)", "owl", "crane (2)")),
        (["cat", "dog"], {"cat": 5, "dog": 3}, None),  # `find_classes` of a subclass
        (["cat", "dog"], {"plane": 0, "car": 1}, None),
        ([3, 7], None, None),
        (2, None, None),
        ("cat", None, None),
        ([], None, None),
        ({}, None, None),
        ({"cat": "x"}, None, None),
        ({0: 1}, None, None),
        ({10**9: "cat"}, None, None),
    ],
)
def test_forms_of_names(classes: Any, index: Any, names: Any) -> None:
    attributes = {} if index is None else {"class_to_idx": index}
    assert class_names(named([0, 1], classes, **attributes)) == names


def test_too_few_names_are_dropped() -> None:
    for labels in ([1, 2, 1, 2], [0, 5, 0, 5]):  # numbered from 1; a subset with names of its own
        small = chosen(named(labels, ["cat", "dog"]))
        assert small.metadata.source_classes is None
        assert [small.classes[target] for target in small.targets] == [str(target) for target in small.targets]


def test_concatenated_datasets_keep_names_on_which_they_agree() -> None:
    first, second = named([0, 1], ["cat", "dog"]), named([1, 0], ["cat", "dog"])
    assert class_names(ConcatDataset([first, Subset(second, [0])])) == ("cat", "dog")
    for other in (named([0, 1], ["hen", "owl"]), named([0, 1], None), TensorDataset(torch.rand(2, 3), torch.arange(2))):
        assert class_names(ConcatDataset([first, other])) is None


def test_subsets_take_the_names_below_or_their_own() -> None:
    whole = named([0, 1, 0, 1], ["cat", "dog"])
    first, second = random_split(whole, [2, 2], torch.Generator().manual_seed(0))
    for subset in (first, second, Subset(first, [1])):
        assert inspect(subset).class_names == ("cat", "dog")
        assert inspect(subset).name == "ListDataset"
    first.classes = ["tom", "rex"]  # type: ignore[attr-defined]
    assert class_names(first) == ("tom", "rex")


def test_folders_with_other_classes_in_the_test_split(tmp_path: Path) -> None:
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    fake_data.image_folder(tmp_path / "train", {"ant": red, "bee": green, "cat": blue})
    fake_data.image_folder(tmp_path / "test", {"bee": green, "cat": blue})
    test: Any = catalog.load(f"imagefolder:{tmp_path}", "test")
    assert class_names(test) == ("ant", "bee", "cat")
    assert test.targets == [label for _, label in test.samples] == [test[i][1] for i in range(8)] == [1] * 4 + [2] * 4
    assert test.class_to_idx == {"ant": 0, "bee": 1, "cat": 2}


def characters(cls: type[Any], **options: Any) -> Any:
    """A dataset of torchvision's class without its files."""
    dataset = cls.__new__(cls)
    images = torch.randint(256, (20, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    attributes = {"data": images, "targets": torch.arange(20) % 10, "transform": ToTensor(), "target_transform": None}
    vars(dataset).update(attributes, **options)
    return dataset


def operations(dataset: Any) -> tuple[str, ...]:
    small = chosen(dataset).metadata
    return DefaultDSAOps()(DatasetInfo(small.kind.shape, small.classes, 1, small.source_classes is not None))


LETTERS = [chr(ord("A") + number) for number in range(26)]
EMNIST = {
    "balanced": [*map(str, range(10)), *LETTERS, *"abdefghnqrt"],
    "letters": ["N/A", *map(str.lower, LETTERS)],
    "byclass": [*map(str, range(10)), *LETTERS, *map(str.lower, LETTERS)],
}


@pytest.mark.parametrize(
    "dataset",
    [
        characters(tv.MNIST),
        characters(tv.KMNIST),
        characters(tv.QMNIST, compat=True, targets=(torch.arange(20) % 10)[:, None]),
        *(characters(tv.EMNIST, classes=classes, split=split) for split, classes in EMNIST.items()),
        characters(tv.EMNIST, classes=EMNIST["letters"], targets=torch.arange(20) % 10 + 1),
    ],
    ids=["mnist", "kmnist", "qmnist", "emnist-balanced", "emnist-letters", "emnist-byclass", "emnist-from-1"],
)
def test_characters_are_not_flipped(dataset: Any) -> None:
    if isinstance(dataset, tv.EMNIST) and dataset.classes[0] == "N/A" and 0 in dataset.targets:
        dataset.targets = dataset.targets + 1
    for source in (dataset, Subset(dataset, range(0, 20, 3))):
        assert "flip" not in operations(source)
    dataset.target_transform = relabel if not isinstance(dataset, tv.QMNIST) else None
    assert "flip" not in operations(Subset(dataset, range(9)))
    dataset.target_transform = None


def test_other_sets_of_torchvision_without_names_are_not_flipped() -> None:
    usps = characters(
        tv.USPS, data=torch.randint(256, (20, 16, 16)).byte().numpy(), targets=[i % 10 for i in range(20)]
    )
    svhn = characters(tv.SVHN, data=np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8))
    svhn.labels = np.arange(20) % 10
    for dataset in (usps, svhn):
        assert "flip" not in operations(dataset)


def test_photographs_are_flipped(fashion: Callable[..., Any]) -> None:
    assert "flip" in operations(fashion(transform=ToTensor()))
    assert "flip" in operations(named([0, 1, 2, 3, 4, 5]))


@pytest.mark.parametrize(
    ("classes", "characters"),
    [
        (["a", "b", "c"], True),
        (["あ", "い", "か\u3099"], True),
        (["ka", "shi", "tsu", "n", "kyo"], True),
        (["0", "1", "A"], True),
        (["7 - seven", "9 - nine"], True),
        (["お (o)", "き (ki)"], True),
        (["A", "B - bee", "c_small"], True),
        (["U+304A", "U+4E00"], True),
        (["T-shirt/top", "Trouser"], False),
        (["", "a"], False),
        (["a", "b", "space"], False),
        (["cat", "dog"], False),
        (["no", "yes"], False),
    ],
)
def test_names_of_characters(classes: list[str], characters: bool) -> None:
    assert ("flip" in DefaultDSAOps()(DatasetInfo((1, 8, 8), tuple(classes), 1))) != characters


@pytest.mark.parametrize("wrap", [lambda part: part, lambda part: Subset(part, [0, 1])], ids=["plain", "subset"])
def test_parts_of_a_concatenation_that_mix_classes_are_refused(wrap: Callable[[Any], Any]) -> None:
    first = named([0, 1, 2], ["ant", "bee", "cat"])
    shifted = named([0, 1], ["ant", "cat"])  # a folder without "bee"
    with pytest.raises(SourceError, match="parts disagree: 'cat' is label 2 in one and label 1 in another"):
        inspect(ConcatDataset([first, wrap(shifted)]))
    with pytest.raises(SourceError, match="parts disagree: 'bee' is label 1 in one and label 0 in another"):
        inspect(ConcatDataset([Subset(first, [0]), ConcatDataset([wrap(named([0, 1], ["bee", "ant"]))])]))
    mapped = named([0, 2], ["ant", "cat"], target_transform=lambda label: [0, 2][label])
    assert inspect(ConcatDataset([first, wrap(mapped)])).class_names is None
    repeated = ConcatDataset([named([0, 1, 2], ["ant", "bee", "ant"]), named([0, 1, 2], ["ant", "bee", "ant"])])
    assert inspect(repeated).class_names == ("ant (0)", "bee", "ant (2)")


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_can_be_stored(name: str, tmp_path: Path) -> None:
    """Found out before the work, not when its result is saved; names of folders need not be text."""
    dataset = TensorDataset(torch.rand(6, 3, 8, 8), torch.arange(6) % 3)
    dataset.classes, dataset.source_name = [name, "b", name], name
    made = CondensedDataset(dataset, "random", ipc=1, cache=tmp_path / "cache", progress=False)
    made.save(tmp_path / "set")
    again = CondensedDataset.load(tmp_path / "set")
    assert again.classes == made.classes
    assert len(set(again.classes)) == 3
    if len(name) < 900 and name.isprintable():
        assert again.classes == [f"{name} (0)", "b", f"{name} (2)"]
